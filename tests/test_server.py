"""A photo becomes a video over HTTP in real servers, the pinned host and older ones."""

import json
import os
import re
from pathlib import Path

import pytest

from clients.puresvd_client import WORKFLOW, set_photo, videos
from scripts.server import PACK

SAMPLE = Path(__file__).resolve().parent.parent / "assets" / "sample.jpg"
OLDER = [Path(path) for path in os.environ.get("PURESVD_OLDER_HOSTS", "").split(os.pathsep) if path]


def small(photo, **changes):
    """The bundled workflow on the tiny checkpoint, with few steps."""
    prompt = set_photo(json.loads(WORKFLOW.read_text(encoding="utf-8")), photo)
    wanted = {"ckpt_name": "tiny.safetensors", "steps": 2} | changes
    for node in prompt.values():
        node["inputs"] |= {key: value for key, value in wanted.items() if key in node["inputs"]}
    return prompt


def make(client, folder, **changes):
    job = client.wait(client.queue(small(client.upload(SAMPLE), **changes)), every=0.1, timeout=120)
    (item,) = videos(job)
    return client.download(item, folder)


def frames(path):
    av = pytest.importorskip("av")
    with av.open(str(path)) as video:
        return [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]


def test_photo_becomes_a_video_over_http(server, tmp_path):
    video = frames(make(server.client, tmp_path, width=128, height=64, frames=3))
    assert [frame.shape for frame in video] == [(64, 128, 3)] * 3
    assert "IMPORT FAILED" not in server.log


def test_value_out_of_range_is_refused_with_its_name(server):
    photo = server.client.upload(SAMPLE)
    with pytest.raises(ValueError, match="PureSVDSample .*steps"):
        server.client.queue(small(photo, steps=-1))


@pytest.mark.parametrize("path", OLDER, ids=lambda path: path.name)
def test_same_workflow_runs_on_older_hosts(path, start_server, tmp_path):
    with start_server(path) as older:
        video = frames(make(older.client, tmp_path, width=128, height=64, frames=3))
    assert [frame.shape for frame in video] == [(64, 128, 3)] * 3


RUN = ("image_to_video_measured", "drag")


def prompts():
    paths = sorted(WORKFLOW.parent.glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


@pytest.mark.slow
@pytest.mark.parametrize("path", OLDER, ids=lambda path: path.name)
def test_older_hosts_offer_everything_and_run_it(path, start_server, tmp_path):
    """Every node and every input of every template is known there; two of them make their videos."""
    with start_server(path) as older:
        client = older.client
        known = client.get("/object_info")
        for name, prompt in prompts().items():
            for node in prompt.values():
                offered = known[node["class_type"]]["input"]
                assert node["inputs"].keys() <= inputs_of(offered), (name, node["class_type"])
        for name in RUN:
            prompt = set_photo(prompts()[name], client.upload(SAMPLE))
            for node in prompt.values():
                node["inputs"] |= {"steps": 2} if "steps" in node["inputs"] else {}
            job = client.wait(client.queue(prompt), every=0.2, timeout=300)
            (item,) = videos(job)
            assert len(frames(client.download(item, tmp_path))) == 14, name
        assert len(client.get("/api/workflow_templates")[PACK]) == len(prompts())
        faults = [
            line for line in older.log.splitlines() if PACK in line and re.search("FAIL|[Ee]rror", line)
        ]
        assert faults == []


def inputs_of(offered):
    return {name for group in ("required", "optional") for name in offered.get(group, {})}
