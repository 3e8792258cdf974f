"""A folder of results: whole or absent, once, whatever dies in between."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from clients import publish
from clients.publish import Folder
from scripts import cache

FILES = {"video.webp": b"a video", "still.jpg": b"a still"}


def names(folder):
    return sorted(os.listdir(folder))


def test_result_appears_whole_with_its_note(tmp_path):
    with Folder(tmp_path / "out") as folder:
        assert folder.publish("cat-0123456789abcdef", FILES, {"seed": 3})
        assert folder.published() == {"0123456789abcdef": tmp_path / "out" / "cat-0123456789abcdef"}
    (result,) = (tmp_path / "out").iterdir()
    assert {path.name: path.read_bytes() for path in publish.files_of(result)} == FILES
    assert publish.read_note(result) == {"seed": 3}


def test_of_two_writers_of_one_result_the_first_stays(tmp_path):
    with Folder(tmp_path) as one, Folder(tmp_path) as other:
        assert (one.alone, other.alone) == (True, False)
        assert one.publish("a-0123456789abcdef", {"x": b"first"}, {})
        assert not other.publish("a-0123456789abcdef", {"x": b"second"}, {})
    assert (tmp_path / "a-0123456789abcdef" / "x").read_bytes() == b"first"
    assert names(tmp_path) == ["a-0123456789abcdef"]


def test_many_writers_publish_each_result_once(tmp_path):
    start = threading.Barrier(8)

    def write(writer):
        with Folder(tmp_path) as folder:
            start.wait()
            return [folder.publish(f"r-{i:016x}", {"x": b"%d" % writer}, {"by": writer}) for i in range(20)]

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(write, range(8)))
    assert [sum(column) for column in zip(*said)] == [1] * 20
    for i, column in enumerate(zip(*said)):
        result = tmp_path / f"r-{i:016x}"
        assert publish.read_note(result) == {"by": column.index(True)}
        assert (result / "x").read_bytes() == b"%d" % column.index(True)
    assert len(names(tmp_path)) == 20


WRITER = """
import os, signal, sys
sys.path.insert(0, ".")
from clients import publish
real, count = os.fsync, 0
def cut(handle):
    global count
    count += 1
    if count == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    real(handle)
os.fsync = cut
with publish.Folder(publish.Path(sys.argv[1])) as folder:
    folder.publish("a-0123456789abcdef", {"x": b"x" * 100_000, "y": b"y"}, {"seed": 1})
"""


@pytest.mark.skipif(os.name == "nt", reason="kills by a signal")
@pytest.mark.parametrize("sync", range(1, 6))
def test_write_cut_at_any_sync_leaves_nothing_or_all(tmp_path, sync):
    """The syncs are of two files, the note, the folder, and after the rename of the folder around it."""
    done = subprocess.run([sys.executable, "-c", WRITER, str(tmp_path), str(sync)], cwd=cache.ROOT)
    assert done.returncode == -signal.SIGKILL
    whole = sync == 5
    with Folder(tmp_path) as folder:
        assert list(folder.published()) == (["0123456789abcdef"] if whole else [])
        assert folder.publish("a-0123456789abcdef", {"x": b"again"}, {}) is not whole
    assert names(tmp_path) == ["a-0123456789abcdef"], "what the dead writer left is gone"


def test_living_writers_place_is_left_alone(tmp_path):
    with Folder(tmp_path) as living:
        with Folder(tmp_path):
            pass
        assert living.aside.is_dir()
        assert living.publish("a-0123456789abcdef", FILES, {})


FULL = """
import resource, signal, sys
sys.path.insert(0, ".")
from clients import publish
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with publish.Folder(publish.Path(sys.argv[1])) as folder:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    try:
        folder.publish("a-0123456789abcdef", {"x": b"x" * 999, "y": b"y" * 1001}, {})
    except OSError as error:
        print(error.strerror)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


@pytest.mark.skipif(os.name == "nt", reason="limits a file's size as POSIX does")
def test_file_that_the_disk_does_not_take_leaves_nothing(tmp_path):
    line = [sys.executable, "-c", FULL, str(tmp_path)]
    done = subprocess.run(line, cwd=cache.ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "File too large\n"
    assert names(tmp_path) == []


def test_out_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(ValueError, match="is a file; give a folder"):
        Folder(tmp_path / "out")
