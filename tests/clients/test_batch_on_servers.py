"""A batch on real servers: items of one that dies go to the others, each is published once."""

import json

import pytest

from clients import batch, publish
from tests.clients.conftest import QUICK
from tests.clients.test_client_on_a_server import shows

COLORS = ("red", "lime", "blue")


def results(out):
    return sorted(path for path in out.iterdir() if (path / publish.NOTE).is_file())


def run(desk, photos, servers, *more, prompt=QUICK):
    line = [*map(str, photos), "--out", str(desk.folder / "out"), "--workflow", str(desk.graph(prompt))]
    return batch.main([*line, "--server", *servers, *more])


def test_photos_become_videos_of_their_own(desk, capsys):
    photos = [desk.photo(f"{color}.png", color) for color in COLORS]
    gone = "http://127.0.0.1:9"
    assert run(desk, photos, [gone, desk.client.server]) == 0, capsys.readouterr().err
    made = results(desk.folder / "out")
    assert [path.name.rpartition("-")[0] for path in made] == sorted(COLORS)
    for path in made:
        assert shows(path / "video.mp4", path.name.rpartition("-")[0])
    found = capsys.readouterr()
    assert "3 made;" in found.out
    assert f"{gone}: no answer from {gone}" in found.err
    assert "it rests for 2 s" in found.err


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--set", "SaveVideo.prefix=x"], "the workflow has no SaveVideo.prefix; choose from"),
        (["--seeds", "1"], "the workflow has no PureSVDSample.seed; choose from"),
        (["--format", "png"], "do not reach a server; use --workflow"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_what_cannot_be_set_is_said_before_anything_is_queued(desk, capsys, more, sentence):
    photo = desk.photo()
    before = json.dumps(desk.client.get("/history"))
    assert run(desk, [photo], [desk.client.server], *more) == 1
    assert sentence in capsys.readouterr().err
    assert json.dumps(desk.client.get("/history")) == before


def test_address_that_is_none_is_said(desk, capsys):
    assert run(desk, [desk.photo()], ["http://"]) == 1
    assert "is not a server's address; use one such as" in capsys.readouterr().err
