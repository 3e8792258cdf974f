"""Files on this machine: what is there stays, and half a file is none."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clients import local


def write(path, data, **options):
    with local.writing(path, **options) as (file, made):
        file.write(data)
    return made


def test_taken_names_are_passed_over(tmp_path):
    made = [write(tmp_path / "a.mp4", b"%d" % i) for i in range(3)]
    assert [path.name for path in made] == ["a.mp4", "a-2.mp4", "a-3.mp4"]
    assert [path.read_bytes() for path in made] == [b"0", b"1", b"2"]


def test_many_writers_of_one_name_lose_nothing(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda i: write(tmp_path / "a.mp4", b"%d" % i), range(64)))
    assert len(set(made)) == 64
    assert [path.read_bytes() for path in made] == [b"%d" % i for i in range(64)]


def fail(path, error, **options):
    with local.writing(path, **options) as (file, _):
        file.write(b"half")
        raise error


def test_overwrite_replaces_only_with_a_whole_file(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError):
        fail(path, RuntimeError, overwrite=True)
    assert path.read_bytes() == b"old"
    assert write(path, b"new", overwrite=True) == path
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_file_that_could_not_be_finished_is_gone(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fail(tmp_path / "a.mp4", KeyboardInterrupt)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("photo.jpg", "photo.jpg"),
        ("Straße 写真 🙂 हिन्दी.jpg", "Straße 写真 🙂 हिन्दी.jpg"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\evil.mp4", "evil.mp4"),
        ("..", "file"),
        ("", "file"),
        (".mp4", "mp4"),
        ("a [output]", "a _output_"),
        ('q"uo\r\nte\0.jpg', "q_uo__te_.jpg"),
        (os.fsdecode(b"\xff.jpg"), "_.jpg"),
    ],
    ids=ascii,
)
def test_safe_names_keep_letters_of_any_script(name, safe):
    assert local.safe_name(name) == safe


def test_long_names_leave_room_for_a_number_and_keep_their_suffix():
    for letter in "n写🙂":
        name = local.safe_name(letter * 240 + ".mp4")
        assert name.endswith(letter + ".mp4")
        assert len(name.encode()) <= 124


def test_result_keeps_the_suffix_of_what_is_in_it(tmp_path):
    assert local.Target(tmp_path, "clip.mp4").named("x_1.webm", "photo") == "clip.webm"
    assert local.Target(tmp_path).named("x_1.webm", "photo") == "photo.webm"
    assert local.Target(tmp_path).named("x_1.webm") == "x_1.webm"


def test_name_without_room_for_a_number_is_refused(tmp_path):
    with pytest.raises(ValueError, match="too long for a file and a number; use 240 bytes"):
        local.target(tmp_path / ("写" * 80 + ".mp4"))
    assert local.target(tmp_path / ("n" * 236 + ".mp4"))


def test_folder_named_like_a_video_is_a_folder(tmp_path):
    folder = tmp_path / "clips.mp4"
    folder.mkdir()
    assert local.target(folder) == local.Target(folder)
    assert local.target(tmp_path / "new.mp4") == local.Target(tmp_path, "new.mp4")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="gives its rights away, which only root can")
def test_folder_of_somebody_else_is_refused(tmp_path):
    tmp_path.chmod(0o755)
    os.seteuid(65534)
    try:
        for out in (tmp_path / "new", tmp_path / "new" / "clip.mp4", Path("/root"), Path("/")):
            with pytest.raises(ValueError, match="nothing can be written to .*Permission denied"):
                local.target(out)
    finally:
        os.seteuid(0)
