"""Start a real ComfyUI server that sees this pack and nothing else of the user's, and stop it again."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

from clients.puresvd_client import Client
from scripts import cache

FOLDERS = ("models/checkpoints", "models/diffusers", "custom_nodes", "input", "output", "temp", "user")
PACK = "PureSVD"


def make_base(base: Path) -> Path:
    """A base folder as ComfyUI wants it, with this pack among its custom nodes."""
    for name in FOLDERS:
        (base / name).mkdir(parents=True, exist_ok=True)
    link_pack(base / "custom_nodes" / PACK)
    return base


@contextlib.contextmanager
def temporary_base() -> Iterator[Path]:
    """A base folder that is gone afterwards; the link is taken out first, so that nothing follows it."""
    with tempfile.TemporaryDirectory(prefix="puresvd-", ignore_cleanup_errors=True) as folder:
        base = make_base(Path(folder))
        try:
            yield base
        finally:
            unlink_pack(base / "custom_nodes" / PACK)


def link_pack(target: Path) -> None:
    """Make the checkout appear at target: a link, a junction where links need a right, else a copy."""
    try:
        if os.name == "nt":
            import _winapi

            _winapi.CreateJunction(str(cache.ROOT), str(target))
        else:
            target.symlink_to(cache.ROOT, target_is_directory=True)
    except OSError:
        skip = shutil.ignore_patterns(".git", "__pycache__", ".*_cache", "tests")
        shutil.copytree(cache.ROOT, target, ignore=skip)


def unlink_pack(target: Path) -> None:
    if target.is_symlink():
        target.unlink()
    elif os.name == "nt":
        with contextlib.suppress(OSError):  # a junction goes like an empty folder; a copy stays
            target.rmdir()


@contextlib.contextmanager
def running(
    host: Path, base: Path, *, python: Path, cpu: bool = True, more: tuple[str, ...] = ()
) -> Iterator[Client]:
    """A server over a base folder made by make_base, up and answering; its log is base/server.log."""
    port = free_port()
    line = [str(python), str(host / "main.py"), "--listen", "127.0.0.1", "--port", str(port)]
    line += ["--base-directory", str(base), "--database-url", "sqlite:///:memory:", "--disable-api-nodes"]
    line += ["--disable-all-custom-nodes", "--whitelist-custom-nodes", PACK]
    line += ["--cpu", *more] if cpu else more
    log = base / "server.log"
    with open(log, "ab") as out:
        process = subprocess.Popen(
            line, cwd=base, env=cache.clean(), stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        client = Client(f"http://127.0.0.1:{port}")
        wait_until_up(client, process, log)
        yield client
    finally:
        stop(process)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_up(client: Client, process: subprocess.Popen, log: Path, *, timeout: float = 180.0) -> None:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"ComfyUI ended with status {process.returncode} while starting:\n{tail(log)}")
        with contextlib.suppress(urllib.error.URLError, OSError):
            client.get("/system_stats")
            return
        time.sleep(0.2)
    raise TimeoutError(f"ComfyUI did not answer within {timeout:.0f} s:\n{tail(log)}")


def tail(log: Path, lines: int = 25) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
