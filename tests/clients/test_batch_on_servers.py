"""A batch on real servers: items of one that dies go to the others, each is published once."""

import json
import threading
import time

import pytest

from clients import batch, publish
from tests.clients.conftest import QUICK
from tests.clients.test_client_on_a_server import shows
from tests.conftest import host_path
from tests.test_server import frames, small

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


@pytest.mark.slow
def test_items_of_a_server_that_dies_go_to_the_others(start_server, desk, capsys):
    """One of three is killed at work; every video equals the one that a single server makes."""
    photos = [desk.photo(f"{i}.png", (20 * i, 255 - 20 * i, 99)) for i in range(12)]
    prompt = small("photo.png", width=128, height=64, frames=3)
    alone, out = desk.folder / "alone", desk.folder / "out"
    assert run(desk, photos, [desk.client.server], "--out", str(alone), "--seeds", "3", prompt=prompt) == 0
    with start_server(host_path()) as other, start_server(host_path()) as victim:
        servers = [one.client.server for one in (desk.server, other, victim)]

        def kill():
            while not (out.is_dir() and results(out)) or not victim.client.get("/queue")["queue_running"]:
                time.sleep(0.02)
            victim.client.process.kill()

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        assert run(desk, photos, servers, "--seeds", "3", prompt=prompt) == 0, capsys.readouterr().err
        killer.join()
    assert f"{servers[2]}: no answer from" in capsys.readouterr().err
    assert [path.name for path in results(out)] == [path.name for path in results(alone)]
    assert len(results(out)) == 12
    for path in results(out):
        made, wanted = (frames(folder / path.name / "video.mp4") for folder in (out, alone))
        assert len(made) == 3
        assert all((one == other).all() for one, other in zip(made, wanted))


@pytest.mark.slow
def test_actors_of_ray_follow_servers_too(desk, capsys):
    pytest.importorskip("ray", reason="Ray is not installed: pip install -r requirements-ray.txt")
    photos = [desk.photo(f"{color}.png", color) for color in COLORS]
    servers = ["http://127.0.0.1:9", desk.client.server]
    assert run(desk, photos, servers, "--address", "local") == 0, capsys.readouterr().err
    for path in results(desk.folder / "out"):
        assert shows(path / "video.mp4", path.name.rpartition("-")[0])
    found = capsys.readouterr()
    assert "3 made;" in found.out
    assert f"{servers[0]}: no answer from" in found.err


def test_address_that_is_none_is_said(desk, capsys):
    assert run(desk, [desk.photo()], ["http://"]) == 1
    assert "is not a server's address; use one such as" in capsys.readouterr().err
