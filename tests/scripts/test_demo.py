"""The demo: what it makes is kept, and what it starts ends with it."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from clients import command, local
from clients.comfyui import Refused
from scripts import cache, demo, host, server
from tests.clients.test_command import as_usual
from tests.conftest import host_path
from tests.test_server import SAMPLE, frames, small

SIZE = {"width": 64, "height": 64, "frames": 2}


def photo(path, colors=("red",)):
    from PIL import Image

    first, *rest = [Image.new("RGB", (64, 64), color) for color in colors]
    first.save(path, path.suffix[1:], **({"save_all": True, "append_images": rest} if rest else {}))
    return path


@pytest.mark.parametrize("kind", ["gif", pytest.param("webp", marks=pytest.mark.slow)])
def test_each_frame_of_a_photo_keeps_its_video(server, tmp_path, capsys, kind):
    source, target = photo(tmp_path / f"frames.{kind}", ("red", "blue", "lime")), local.Target(tmp_path)
    demo.make(server.client, small("", **SIZE), source, target, None)
    lines = capsys.readouterr().out.splitlines()
    made = [Path(line.removeprefix("video: ")) for line in lines if line.startswith("video: ")]
    assert len(made) == len(set(made)) == 3
    assert all(path.name.startswith(source.stem) and len(frames(path)) == 2 for path in made)
    assert sorted(tmp_path.glob("*.mp4")) == sorted(made)


@pytest.mark.slow
def test_pages_that_the_loader_leaves_out_are_said(server, tmp_path, capsys):
    source = photo(tmp_path / "scan.tiff", ("red", "blue", "lime"))
    demo.make(server.client, small("", **SIZE), source, local.Target(tmp_path), None)
    said = capsys.readouterr()
    assert said.out.count("video: ") == len(list(tmp_path.glob("*.mp4"))) == 1
    assert "scan.tiff has 3 pages, but only 1 video was made" in said.err


def test_photo_with_a_long_name_is_made_a_video_of(server, tmp_path, capsys):
    source = photo(tmp_path / f"{'n' * 240}.png")
    demo.make(server.client, small("", **SIZE), source, local.Target(tmp_path), None)
    assert len(list(tmp_path.glob("n*.mp4"))) == 1


def test_video_is_kept_elsewhere_where_its_folder_does_not_take_it(server, tmp_path, capsys):
    (tmp_path / "gone").write_text("a file by now")
    target = local.Target(tmp_path / "gone", spares=(tmp_path / "gone" / "too", tmp_path / "spare"))
    demo.make(server.client, small("", **SIZE), SAMPLE, target, None)
    assert len(list((tmp_path / "spare").glob("sample-*.mp4"))) == 1
    nowhere = local.Target(tmp_path / "gone")
    with pytest.raises(
        ValueError, match="was made, but cannot be written to .*gone .*keeps it as output/video"
    ):
        demo.make(server.client, small("", **SIZE), SAMPLE, nowhere, None)


@pytest.mark.parametrize("out", ["photo.png", "photo.png/below", "/proc/none"])
def test_out_that_cannot_be_written_is_found_before_a_host_is_looked_for(tmp_path, monkeypatch, out):
    source = photo(tmp_path / "photo.png")
    monkeypatch.setattr(host, "find", lambda: pytest.fail("a host was looked for"))
    with pytest.raises(SystemExit, match=out):
        demo.main([str(source), "--out", str(tmp_path / out)])


@pytest.mark.parametrize("name", ["absent.png", ".", "film.mp4"])
def test_file_that_is_no_photo_is_found_before_a_host_is_looked_for(tmp_path, monkeypatch, name):
    (tmp_path / "film.mp4").write_bytes(b"")
    monkeypatch.setattr(host, "find", lambda: pytest.fail("a host was looked for"))
    with pytest.raises(SystemExit, match="give a photo|give it an image"):
        demo.main([str(tmp_path / name), "--out", str(tmp_path)])


def test_server_that_dies_leaves_its_log_and_a_sentence(start_server, tmp_path, monkeypatch):
    monkeypatch.setenv("PURESVD_CACHE", str(tmp_path))
    with start_server(host_path()) as running:
        threading.Timer(2.0, running.client.process.kill).start()
        start = time.monotonic()
        with pytest.raises(SystemExit) as ended, server.explained(running.base, "the video was not made"):
            command.follow(running.client, small(running.client.upload(SAMPLE), steps=1000, frames=14))
    assert time.monotonic() - start < 30
    said = str(ended.value)
    assert "the video was not made: ComfyUI was killed (signal 9); the machine may have run out" in said
    assert "got prompt" in said, "the end of the log"
    (kept,) = (tmp_path / "logs").iterdir()
    assert said.endswith(f"the whole log: {kept}")
    assert kept.read_bytes() == (running.base / "server.log").read_bytes()


def test_failure_in_a_node_is_said_with_the_log_kept(server, tmp_path, monkeypatch):
    from scripts import server as own

    monkeypatch.setenv("PURESVD_CACHE", str(tmp_path))
    with pytest.raises(SystemExit, match="(?s)not made: PureSVDSample .*steps.*the whole log: "):
        refused(own, server)
    assert len(list((tmp_path / "logs").iterdir())) == 1


def refused(own, server):
    with own.explained(server.base, "the video was not made"):
        command.follow(server.client, small(server.client.upload(SAMPLE), steps=-1))
    raise AssertionError(Refused)


@pytest.mark.host
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes as Linux shows them")
@pytest.mark.parametrize(
    "name", ["SIGHUP", *(pytest.param(n, marks=pytest.mark.slow) for n in ("SIGTERM", "SIGINT"))]
)
def test_signal_leaves_neither_server_nor_folder(tmp_path, name):
    (tmp_path / "temp").mkdir()
    places = {"PURESVD_CACHE": tmp_path / "cache", "TMPDIR": tmp_path / "temp", "COMFYUI_PATH": host_path()}
    variables = os.environ | {key: str(value) for key, value in places.items()}
    variables["PURESVD_PYTHON"] = sys.executable
    line = [sys.executable, str(cache.ROOT / "scripts" / "demo.py")]
    demo_run = subprocess.Popen(
        line, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=as_usual
    )
    try:
        wait_for(lambda: processes(tmp_path / "temp") or demo_run.poll() is not None)
        demo_run.send_signal(getattr(signal, name))
        _, said = demo_run.communicate(timeout=60)
    finally:
        demo_run.kill()
        left = processes(tmp_path / "temp")
        for number in left:
            os.kill(number, signal.SIGKILL)
    assert said == "stopped\n"
    assert demo_run.returncode == 128 + getattr(signal, name)
    assert list((tmp_path / "temp").iterdir()) == []
    assert not left


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def processes(folder):
    """Ids of the processes that work over a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:  # it has ended meanwhile
            continue
    return found
