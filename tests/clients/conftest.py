"""A real server seen from a command line: graphs that take no time, and one that takes long."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from clients import puresvd_client
from tests.test_server import SAMPLE, small

QUICK = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
    "2": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 2.0}},
    "3": {
        "class_type": "SaveVideo",
        "inputs": {"video": ["2", 0], "filename_prefix": "quick", "format": "auto", "codec": "auto"},
    },
}


@dataclass(frozen=True)
class Desk:
    """A folder of the user's and a server: `run` is the client's command."""

    server: object
    folder: Path

    @property
    def client(self):
        return self.server.client

    def photo(self, name="photo.png", color="red", size=(64, 48), frames=()):
        from PIL import Image

        path = self.folder / name
        rest = [Image.new("RGB", size, each) for each in frames]
        options = {"save_all": True, "append_images": rest} if rest else {}
        Image.new("RGB", size, color).save(path, path.suffix[1:] or "png", **options)
        return path

    def graph(self, prompt=QUICK, name="graph.json"):
        path = self.folder / name
        path.write_text(json.dumps(prompt), encoding="utf-8")
        return path

    def run(self, photo, *more, prompt=QUICK):
        line = [str(photo), "--server", self.client.server, "--workflow", str(self.graph(prompt))]
        return puresvd_client.main([*line, *(() if "--out" in more else ("--out", str(self.folder))), *more])

    def long(self):
        """A job that runs until it is cancelled; its id, once it is at work."""
        job_id = self.client.queue(small(self.client.upload(SAMPLE), steps=1000, frames=14))
        while self.client.job(job_id)["status"] != "in_progress":
            time.sleep(0.05)
        return job_id


@pytest.fixture
def desk(server, tmp_path):
    return Desk(server, tmp_path)


@pytest.fixture
def busy(desk):
    """The server is at work on something else, so that what is queued waits."""
    job_id = desk.long()
    yield job_id
    assert desk.client.cancel(job_id, patience=60)
