"""A photo becomes a video over HTTP in real servers, the pinned host and older ones."""

import json
import os
from pathlib import Path

import pytest

from clients.puresvd_client import WORKFLOW, set_photo, videos

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
