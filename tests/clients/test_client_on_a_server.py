"""The client's command against a real server: nothing lost, and a sentence where something is wrong."""

import os
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clients import command, graph, puresvd_client
from clients.comfyui import Refused
from tests.clients.conftest import QUICK
from tests.test_server import SAMPLE, frames

COLORS = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255)}


def shows(path, color):
    """Whether a video shows one color throughout; its coding is exact to a few levels."""
    return all(abs(frame.astype(int) - COLORS[color]).max() < 12 for frame in frames(path))


def test_photo_of_a_name_that_is_taken_leaves_the_servers_file_alone(desk):
    own = desk.server.base / "input" / "mine.png"
    own.write_bytes(b"the user's own picture")
    for color in ("red", "lime", "red"):
        assert desk.run(desk.photo("mine.png", color)) == 0
    assert own.read_bytes() == b"the user's own picture"
    made = sorted(desk.folder.glob("*.mp4"))
    assert [[name for name in COLORS if shows(path, name)] for path in made] == [["red"], ["lime"], ["red"]]


def test_clients_with_photos_of_one_name_get_their_own_videos(desk):
    def one(color):
        folder = desk.folder / color
        folder.mkdir()
        desk_of_one = type(desk)(desk.server, folder)
        assert desk_of_one.run(desk_of_one.photo("same.png", color)) == 0
        (made,) = folder.glob("*.mp4")
        return shows(made, color)

    with ThreadPoolExecutor() as pool:
        assert all(pool.map(one, COLORS))


NAMES = [
    "Ünïcödé 写真 🙂 हिन्दी.png",
    'quote " and \\ back.png',
    "semi;colon=a, b%20c.png",
    "line\nbreak.png",
    "x [output].png",
    "folder [temp]",
    "..png",
    "-o.png",
    "n" * 240 + ".png",
    "写" * 80 + ".png",
    os.fsdecode(b"not \xff text.png"),
]


@pytest.mark.skipif(os.name == "nt", reason="these names are not allowed there")
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_photo_may_have_any_name(desk, name, capsys):
    photo = desk.photo("plain.png", "blue").rename(desk.folder / name)
    before = set((desk.server.base / "output").rglob("*"))
    assert desk.run(photo) == 0, capsys.readouterr().err
    (made,) = desk.folder.glob("*.mp4")
    assert shows(made, "blue")
    assert len(set((desk.server.base / "output").rglob("*")) - before) == 1


def test_local_file_of_the_servers_name_stays(desk, capsys):
    photo = desk.photo()
    assert desk.run(photo, prompt=named("stays")) == 0
    first = Path(capsys.readouterr().out.strip())
    (desk.server.base / "output" / first.name).unlink()  # as on a fresh server, which counts from 1 again
    first.write_bytes(b"precious")
    assert desk.run(photo, prompt=named("stays", fps=3.0)) == 0
    second = Path(capsys.readouterr().out.strip())
    assert first.read_bytes() == b"precious"
    assert second.name == f"{first.stem}-2.mp4"
    (desk.server.base / "output" / first.name).unlink()
    assert desk.run(photo, "--overwrite", prompt=named("stays", fps=4.0)) == 0
    assert Path(capsys.readouterr().out.strip()) == first
    assert len(frames(first)) == 1
    assert not list(desk.folder.glob(".*"))


def named(prefix, **changes):
    """The quick graph under another name, so that the server runs it again."""
    prompt = {key: {**node, "inputs": dict(node["inputs"])} for key, node in QUICK.items()}
    prompt["2"]["inputs"] |= changes
    prompt["3"]["inputs"]["filename_prefix"] = prefix
    return prompt


@pytest.mark.parametrize("out", ["deep/er", "clip.mp4", "deep/clip.webm"])
def test_out_is_a_folder_or_a_videos_name(desk, out, capsys):
    assert desk.run(desk.photo(), "--out", str(desk.folder / out)) == 0
    made = Path(capsys.readouterr().out.strip())
    if Path(out).suffix:
        assert made == desk.folder / Path(out).with_suffix(".mp4"), "the suffix says what is in the file"
    else:
        assert made.parent == desk.folder / out


@pytest.mark.parametrize(
    "out", ["photo.png", "photo.png/below", "photo.png/clip.mp4", "/proc/none", "n" * 300]
)
def test_out_that_cannot_be_written_is_found_before_anything_is_queued(desk, out, capsys):
    jobs = desk.client.get("/history")
    inputs = set((desk.server.base / "input").iterdir())
    assert desk.run(desk.photo(), "--out", str(desk.folder / out)) == 1
    said = capsys.readouterr().err
    assert out in said
    assert said.count("\n") == 1
    assert desk.client.get("/history") == jobs
    assert set((desk.server.base / "input").iterdir()) == inputs


def video(desk, name, color):
    av = pytest.importorskip("av")
    import numpy as np

    with av.open(str(desk.folder / name), "w", format="mp4") as film:
        stream = film.add_stream("h264", rate=6, width=64, height=48, pix_fmt="yuv420p")
        for _ in range(4):
            picture = np.full((48, 64, 3), COLORS[color], np.uint8)
            film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        film.mux(stream.encode())
    return desk.folder / name


def test_video_goes_to_the_loader_that_the_graph_has(desk):
    own = video(desk, "video.mp4", "blue")
    (desk.server.base / "input" / own.name).write_bytes(own.read_bytes())
    prompt = graph.read(graph.WORKFLOW.with_name("interpolate_any_video.json"))
    prompt["3"]["inputs"]["target_fps"] = 12.0
    assert desk.run(video(desk, "video.mp4", "lime"), prompt=prompt) == 0
    (made,) = desk.folder.glob("PureSVD_*.mp4")
    assert shows(made, "lime")
    assert len(frames(made)) == 7


def test_file_that_no_loader_takes_is_refused_before_anything_is_queued(desk, capsys):
    interpolate = graph.read(graph.WORKFLOW.with_name("interpolate_any_video.json"))
    from_text = graph.read(graph.WORKFLOW.with_name("text_to_image_to_video.json"))
    film = video(desk, "film.mp4", "red")
    for file, prompt, wanted in (
        (desk.photo(), interpolate, "loads a video (LoadVideo)"),
        (film, QUICK, "loads an image (LoadImage)"),
        (desk.photo(), from_text, "no LoadImage or LoadVideo"),
    ):
        assert desk.run(file, prompt=prompt) == 1
        said = capsys.readouterr().err
        assert wanted in said
        assert said.count("\n") == 1


@pytest.mark.parametrize("take_away", ["queue", "history"])
def test_job_that_was_removed_is_noticed_within_seconds(desk, request, take_away):
    if take_away == "queue":
        request.getfixturevalue("busy")
    job_id = desk.client.queue(graph.set_photo(named(take_away), desk.client.upload(desk.photo())))
    if take_away == "history":
        desk.client.wait(job_id, every=0.05)
    desk.client.post(f"/{take_away}", b'{"clear": true}', "application/json")
    start = time.monotonic()
    with pytest.raises(Refused, match="taken out of the queue or the history"):
        desk.client.wait(job_id, timeout=60)
    assert time.monotonic() - start < 10


def test_timeout_is_the_users_and_cancels_the_job(desk, busy, capsys):
    assert desk.run(desk.photo(), "--timeout", "0.5", prompt=named("late")) == 1
    assert "the job is pending after" in (said := capsys.readouterr().err)
    assert "the job was cancelled" in said
    assert desk.client.get("/queue")["queue_pending"] == []
    assert desk.client.job(busy)["status"] == "in_progress", "another's job is left alone"


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon"])
def test_timeout_must_be_seconds(desk, text, capsys):
    with pytest.raises(SystemExit, match="2"):
        desk.run(desk.photo(), "--timeout", text)
    assert "--timeout" in capsys.readouterr().err


def test_there_is_no_limit_unless_one_is_asked_for(desk, monkeypatch):
    clock = iter(range(0, 10**9, 10**6))  # each look at the clock is twelve days later
    monkeypatch.setattr("clients.comfyui.time.monotonic", lambda: float(next(clock)))
    assert desk.run(desk.photo(), prompt=named("patient")) == 0


def test_stopping_takes_the_running_job_off_the_server(desk, monkeypatch, capsys):
    job_id = desk.long()
    monkeypatch.setattr(desk.client, "queue", lambda prompt, job_id: job_id)
    monkeypatch.setattr("uuid.uuid4", lambda: job_id)
    handlers = {number: signal.getsignal(number) for number in command.SIGNALS}
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background jobs start with it ignored
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            command.follow(desk.client, {})
    finally:  # ours ignores every further signal
        for number, handler in handlers.items():
            signal.signal(number, handler)
    with pytest.raises(Refused, match="cancelled"):
        desk.client.wait(job_id, every=0.1, timeout=20)


def test_graph_without_a_video_says_what_it_made(desk, capsys):
    pictures = {
        "1": QUICK["1"],
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "picture"}},
    }
    assert desk.run(desk.photo(), prompt=pictures) == 1
    said = capsys.readouterr().err
    assert re.search(r"made no video, but picture_\d+_.png \(node 2\); let it end in SaveVideo\n$", said)
    words = {"1": QUICK["1"], "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}}
    assert desk.run(desk.photo(), prompt=words) == 1
    assert "made no video, and no other file either" in capsys.readouterr().err


def test_output_deleted_on_the_server_is_said(desk, monkeypatch, capsys):
    follow = command.follow

    def and_delete(*args, **options):
        job = follow(*args, **options)
        (desk.server.base / "output" / graph.videos(job)[0]["filename"]).unlink()
        return job

    monkeypatch.setattr(command, "follow", and_delete)
    assert desk.run(desk.photo(), prompt=named("deleted")) == 1
    assert "deleted_00001_.mp4 was made, but is no longer on the server" in capsys.readouterr().err
    assert not list(desk.folder.glob("*.mp4"))
    assert not list(desk.folder.glob(".*"))


def test_every_frame_of_a_photo_becomes_a_video_of_its_own(desk, capsys):
    photo = desk.photo("two.gif", "red", frames=["blue"])
    assert desk.run(photo, "--out", str(desk.folder / "clip.mp4"), prompt=split_in_two()) == 0
    made = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [path.name for path in made] == ["clip.mp4", "clip-2.mp4"]
    assert shows(made[0], "red")
    assert shows(made[1], "blue")


def test_overwrite_replaces_what_was_there_and_nothing_that_it_has_just_made(desk, capsys):
    for name in ("my [clip].mp4", "my [clip]-2.mp4"):
        (desk.folder / name).write_bytes(b"old")
    photos = [desk.photo("two.gif", "red", frames=["blue"]), desk.photo("one.gif", "lime", frames=["lime"])]
    out = ("--out", str(desk.folder / "my [clip].mp4"), "--overwrite")
    assert desk.run(photos[0], str(photos[1]), *out, prompt=split_in_two()) == 0
    made = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [path.name for path in made] == [f"my [clip]{number}.mp4" for number in ("", "-3", "-4", "-5")]
    assert [shows(path, color) for path, color in zip(made, ("red", "blue", "lime", "lime"))] == [True] * 4
    assert (desk.folder / "my [clip]-2.mp4").read_bytes() == b"old"


def test_one_of_several_photos_that_fails_does_not_stop_the_others(desk, capsys):
    (desk.folder / "bad.png").write_bytes(b"no picture")
    names = [desk.folder / "bad.png", desk.folder / "absent.png", desk.photo("good.png", "lime")]
    assert desk.run(*map(str, names)) == 1
    said = capsys.readouterr()
    assert shows(Path(said.out.strip()), "lime")
    assert "bad.png: LoadImage (node 1)" in said.err
    assert "absent.png is not a file" in said.err


def test_file_beyond_the_servers_limit_is_told_by_its_size(desk, capsys):
    with open(desk.folder / "large.png", "wb") as file:
        file.truncate(400 * 2**20)
    assert desk.run(desk.folder / "large.png") == 1
    said = capsys.readouterr().err
    assert "large.png, which has 400 MB; ComfyUI takes 100 MB" in said
    assert said.count("\n") == 1


def split_in_two():
    """Two savers, one for each frame: what a batch of photos comes to."""
    prompt = {"1": QUICK["1"]}
    for i in range(2):
        prompt[f"cut{i}"] = {
            "class_type": "ImageFromBatch",
            "inputs": {"image": ["1", 0], "batch_index": i, "length": 1},
        }
        prompt[f"film{i}"] = {"class_type": "CreateVideo", "inputs": {"images": [f"cut{i}", 0], "fps": 2.0}}
        prompt[f"save{i}"] = {
            "class_type": "SaveVideo",
            "inputs": {
                "video": [f"film{i}", 0],
                "filename_prefix": f"part{i}",
                "format": "auto",
                "codec": "auto",
            },
        }
    return prompt


def test_sample_goes_through_the_bundled_workflow_unless_another_is_named():
    assert puresvd_client.WORKFLOW.name == "image_to_video.json"
    assert SAMPLE.is_file()
