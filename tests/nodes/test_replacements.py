"""Graphs of SVD packs that are no longer kept: the host puts our nodes in, by its own rules."""

import asyncio
import copy
import types

import pytest

OLD_PROMPT = {  # as such a pack's own example has it
    "1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}, "_meta": {}},
    "2": {
        "class_type": "SVDModelLoader",
        "inputs": {"checkpoint": "svd_xt.safetensors", "num_frames": 25, "num_steps": 30, "device": "cuda"},
        "_meta": {},
    },
    "3": {
        "class_type": "SVDSampler",
        "inputs": {
            "image": ["1", 0],
            "model": ["2", 0],
            "motion_bucket_id": 127,
            "fps_id": 6,
            "cond_aug": 0.02,
            "seed": 23,
            "device": "cuda",
        },
        "_meta": {},
    },
    "4": {
        "class_type": "SVDDecoder",
        "inputs": {"samples_z": ["3", 0], "model": ["2", 0], "decoding_t": 14, "device": "cuda"},
        "_meta": {},
    },
    "5": {"class_type": "PreviewImage", "inputs": {"images": ["4", 0]}, "_meta": {}},
}


@pytest.fixture
def manager(host, monkeypatch):
    from app.node_replace_manager import NodeReplaceManager
    from server import PromptServer

    manager = NodeReplaceManager()
    instance = types.SimpleNamespace(node_replace_manager=manager)
    monkeypatch.setattr(PromptServer, "instance", instance, raising=False)
    asyncio.run(host.pack("nodes").PureSVDExtension().on_load())
    return manager


@pytest.mark.parametrize("order", ["12345", "54321", "31425"])
def test_old_prompt_runs_on_our_nodes_as_far_as_inputs_mean_the_same(host, manager, order):
    prompt = copy.deepcopy({key: OLD_PROMPT[key] for key in order})
    manager.apply_replacements(prompt)
    assert [prompt[key]["class_type"] for key in "234"] == [
        "PureSVDLoadCheckpoint",
        "PureSVDSample",
        "PureSVDDecode",
    ]
    assert prompt["2"]["inputs"] == {"ckpt_name": "svd_xt.safetensors", "weight_dtype": "default"}
    assert prompt["3"]["inputs"]["model"] == ["2", 0]
    assert prompt["3"]["inputs"]["seed"] == 23
    assert prompt["4"]["inputs"] == {"samples": ["3", 0], "memory": 0.0}
    assert prompt["5"]["inputs"] == {"images": ["4", 0]}
    for (found,) in manager.as_dict().values():  # what the editor reads
        assert found["output_mapping"] == [{"old_idx": 0, "new_idx": 0}]


def test_replacements_name_inputs_that_there_are_at_their_defaults(host):
    for entry in host.pack("nodes.host.replacements").OLD:
        schema = {i.id: i for i in host.node(entry["new_node_id"]).define_schema().inputs}
        for mapped in entry["input_mapping"]:
            assert mapped["new_id"] in schema
            if "set_value" in mapped:
                assert mapped["set_value"] == schema[mapped["new_id"]].default
        given = {mapped["new_id"] for mapped in entry["input_mapping"]}
        left = {name for name in schema if name not in given}
        assert all(schema[name].io_type.isupper() for name in left)
        assert not any(hasattr(schema[name], "default") and schema[name].default is not None for name in left)


def test_host_without_a_server_or_a_list_is_left_alone(host, monkeypatch):
    from server import PromptServer

    register = host.pack("nodes.host.replacements").register
    monkeypatch.setattr(PromptServer, "instance", types.SimpleNamespace(), raising=False)
    asyncio.run(register())
    monkeypatch.delattr(PromptServer, "instance")
    asyncio.run(register())
