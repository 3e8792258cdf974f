"""Stored workflows keep working: what a graph refers to is only ever added to, at the end.

A graph stores node ids, sockets by name, outputs by position and widget values by position.
`tests/data/contract.json` is what `/object_info` said of each node when it was released;
new nodes are added to it with `PURESVD_WRITE_CONTRACT=1`.
"""

import json
import os
from pathlib import Path

import pytest

CONTRACT = Path(__file__).resolve().parents[1] / "data" / "contract.json"
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


def described(cls):
    """What graphs refer to, in the order of `/object_info`: required inputs first."""
    info = cls.GET_NODE_INFO_V1()
    entries = [pair for kind in ("required", "optional") for pair in info["input"].get(kind, {}).items()]
    kinds = [(name, "COMBO" if isinstance(entry[0], list) else entry[0]) for name, entry in entries]
    outputs = zip(info["output_name"], info["output"], info["output_is_list"])
    return {
        "widgets": [[name, kind] for name, kind in kinds if kind in WIDGETS],
        "sockets": {name: kind for name, kind in kinds if kind not in WIDGETS},
        "outputs": [
            [name, "COMBO" if isinstance(kind, list) else kind, many] for name, kind, many in outputs
        ],
    }


@pytest.fixture(scope="module")
def found(host):
    return {cls.GET_SCHEMA().node_id: described(cls) for cls in host.pack("nodes").NODES}


def test_every_node_is_in_the_contract(found):
    kept = json.loads(CONTRACT.read_text(encoding="utf-8"))
    if os.environ.get("PURESVD_WRITE_CONTRACT"):
        text = json.dumps({**found, **kept}, indent=1, sort_keys=True)
        CONTRACT.write_text(text + "\n", encoding="utf-8")
        kept = json.loads(text)
    assert kept.keys() == found.keys()


def test_inputs_and_outputs_are_only_added_at_the_end(found):
    kept = json.loads(CONTRACT.read_text(encoding="utf-8"))
    for node, old in kept.items():
        new = found[node]
        assert new["widgets"][: len(old["widgets"])] == old["widgets"], node
        assert new["outputs"][: len(old["outputs"])] == old["outputs"], node
        assert old["sockets"].items() <= new["sockets"].items(), node
