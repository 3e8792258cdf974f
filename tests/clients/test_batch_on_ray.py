"""A batch on a real cluster of several nodes: nothing lost, nothing twice, nothing partial, the same bytes.

They need Ray: pip install -r requirements-ray.txt
"""

import os
import signal
import subprocess
import sys
import time

import pytest

from clients import publish
from scripts import cache
from tests.make_checkpoint import write_checkpoint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="kills by signals"),
]
STORE = 100 * 2**20
WAIT = 400.0  # seconds for a whole run


@pytest.fixture(scope="module", autouse=True)
def ray():
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    return pytest.importorskip("ray", reason="Ray is not installed: pip install -r requirements-ray.txt")


@pytest.fixture(scope="module")
def head(ray):
    """A head without cores, so that no worker lives there."""
    found = pytest.importorskip("ray.cluster_utils").Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE}
    )
    yield found
    found.shutdown()


@pytest.fixture
def cluster(head):
    """With three nodes of one core each beside its head, whatever died in tests before."""
    while len(head.worker_nodes) < 3:
        head.add_node(num_cpus=1, object_store_memory=STORE)
    head.wait_for_nodes()
    return head


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    return Desk(tmp_path_factory.mktemp("batch"))


class Desk:
    """Photos, a checkpoint, and what the items look like that are made one after the other."""

    def __init__(self, folder, photos=12):
        from PIL import Image

        self.folder, self.photos = folder, folder / "photos"
        self.photos.mkdir()
        preset = {"name": "tiny", "frames": 2, "width": 64, "height": 64, "steps": 2}
        self.checkpoint = write_checkpoint(folder / "tiny.safetensors", preset=preset)
        for i in range(photos):
            Image.new("RGB", (64, 64), (20 * i, 255 - 20 * i, 99)).save(self.photos / f"{i:02}.png")
        done = self.start(folder / "single", ray=False)
        assert done.wait(WAIT) == 0, done.said()
        self.wanted = contents(folder / "single")
        assert len(self.wanted) == photos

    def start(self, out, *more, ray=True):
        """The command in a process of its own; what it says is in a file beside `out`."""
        line = [sys.executable, "clients/batch.py", str(self.photos), "--out", str(out), "--format", "png"]
        line += ["--checkpoint", str(self.checkpoint), "--threads", "1", *more]
        line += [] if ray else ["--workers", "1"]
        path = self.folder / f"{time.monotonic_ns()}.log"
        with open(path, "wb") as log:
            found = subprocess.Popen(line, cwd=cache.ROOT, stdout=log, stderr=log, env=cache.clean())
        found.said = path.read_text
        return found

    def whole(self, out):
        """Every item is there once, equal to its single run, and nothing else but the sheet."""
        names = {path.name for path in out.iterdir()}
        assert names == {*self.wanted, "contact-sheet.png"}
        assert contents(out) == self.wanted


def contents(out):
    """Results by name: the bytes of their files; a note must be there with each and name them."""
    found = {}
    for path in out.iterdir() if out.is_dir() else ():
        if path.is_dir() and not path.name.startswith(publish.ASIDE):
            files = {file.name: file.read_bytes() for file in publish.files_of(path)}
            assert sorted(files) == publish.read_note(path)["files"]
            found[path.name] = files
    return found


def wait_for(condition, what, seconds=WAIT):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def actors():
    """Processes of this machine that are our actors: their ids."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and open(f"/proc/{entry}/cmdline", "rb").read().startswith(b"ray::Holder"):
                found.append(int(entry))
        except OSError:
            continue
    return found


def test_frames_are_those_of_single_runs_on_three_nodes(cluster, desk, tmp_path):
    run = desk.start(tmp_path / "out", "--address", cluster.address)
    assert run.wait(WAIT) == 0, run.said()
    desk.whole(tmp_path / "out")
    assert "12 made" in run.said()


def test_workers_that_are_killed_lose_nothing(cluster, desk, tmp_path):
    out = tmp_path / "out"
    run = desk.start(out, "--address", cluster.address)
    for published in (1, 4):
        wait_for(lambda n=published: len(contents(out)) >= n and actors(), f"no result: {run.said()}")
        os.kill(actors()[0], signal.SIGKILL)
    assert run.wait(WAIT) == 0, run.said()
    desk.whole(out)
    assert "its process or machine is gone" in run.said()


def test_nodes_that_die_lose_nothing(cluster, desk, tmp_path):
    out = tmp_path / "out"
    run = desk.start(out, "--address", cluster.address, "--workers", "3")
    for published, node in zip((1, 3), list(cluster.worker_nodes)):
        wait_for(lambda n=published: len(contents(out)) >= n, f"no result: {run.said()}")
        cluster.remove_node(node, allow_graceful=False)
    assert run.wait(WAIT) == 0, run.said()
    desk.whole(out)
    assert "its process or machine is gone" in run.said()


def test_driver_that_is_killed_is_started_again(cluster, desk, tmp_path):
    out = tmp_path / "out"
    run = desk.start(out, "--address", cluster.address)
    wait_for(lambda: len(contents(out)) >= 2, f"no result: {run.said()}")
    run.kill()
    run.wait()
    half = contents(out)
    assert 2 <= len(half) < 12
    assert all(half[name] == desk.wanted[name] for name in half)
    again = desk.start(out, "--address", cluster.address)
    assert again.wait(WAIT) == 0, again.said()
    desk.whole(out)
    assert f"{12 - len(half)} made, {len(half)} there before" in again.said()


def test_two_drivers_on_one_folder_publish_each_item_once(cluster, desk, tmp_path):
    out = tmp_path / "out"
    runs = [desk.start(out, "--address", cluster.address, "--workers", str(n)) for n in (1, 2)]
    for run in runs:
        assert run.wait(WAIT) == 0, run.said()
    desk.whole(out)
    made = [int(word.split(" made")[0].rpartition(" ")[2]) for word in (run.said() for run in runs)]
    assert sum(made) == 12


def test_one_driver_of_two_that_is_killed_leaves_its_items_to_the_other(cluster, desk, tmp_path):
    out = tmp_path / "out"
    runs = [desk.start(out, "--address", cluster.address, "--workers", str(n)) for n in (1, 2)]
    wait_for(lambda: len(contents(out)) >= 2, runs[0].said())
    runs[0].kill()
    runs[0].wait()
    assert runs[1].wait(WAIT) == 0, runs[1].said()
    again = desk.start(out, ray=False)  # sweeps what the killed one left
    assert again.wait(WAIT) == 0, again.said()
    desk.whole(out)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with 300 KB, where this may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(line, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_full_disk_ends_the_run_and_room_lets_it_go_on(cluster, desk, small_disk):
    ballast, out = small_disk / "ballast", small_disk / "out"
    free = os.statvfs(small_disk)
    one = sum(len(data) + 4096 for files in list(desk.wanted.values())[:1] for data in files.values()) + 8192
    ballast.write_bytes(b"x" * max(0, free.f_bavail * free.f_bsize - 4 * one))
    run = desk.start(out, "--address", cluster.address)
    assert run.wait(WAIT) == 1
    ballast.unlink()
    assert "No space left on device" in run.said()
    half = contents(out)
    assert 0 < len(half) < 12
    assert all(half[name] == desk.wanted[name] for name in half)
    assert not [path for path in out.iterdir() if path.name.startswith(publish.ASIDE)]
    subprocess.run(["mount", "-o", "remount,size=3m", str(small_disk)], check=True)
    again = desk.start(out, "--address", cluster.address)
    assert again.wait(WAIT) == 0, again.said()
    desk.whole(out)


def test_signal_ends_the_run_in_a_line_and_with_its_status(cluster, desk, tmp_path):
    out = tmp_path / "out"
    run = desk.start(out, "--address", cluster.address)
    wait_for(lambda: contents(out), f"no result: {run.said()}")
    run.terminate()
    assert run.wait(60) == 128 + signal.SIGTERM
    assert run.said().endswith("stopped\n")
    assert not [path for path in out.iterdir() if path.name.startswith(publish.ASIDE)]


def test_cluster_that_is_not_there_is_one_sentence(desk, tmp_path):
    run = desk.start(tmp_path / "out", "--address", "127.0.0.1:9")
    assert run.wait(60) == 1
    assert run.said().startswith("no Ray cluster could be reached at 127.0.0.1:9 ")
    assert run.said().count("\n") == 1
