"""Start a real ComfyUI server that sees this pack and nothing else of the user's, and stop it again."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clients import local
from clients.comfyui import Client, Refused, Unreachable
from scripts import cache

FOLDERS = ("models/checkpoints", "models/diffusers", "custom_nodes", "input", "output", "temp", "user")
PACK = "PureSVD"
LAST_WORDS = 2.0  # seconds that a server which has stopped answering is given to end


class Died(ConnectionError):
    """The server ended by itself."""


class OwnClient(Client):
    """The client of a server that we started: it knows when that has ended, and why."""

    def __init__(self, port: int, process: subprocess.Popen, log: Path):
        super().__init__(f"http://127.0.0.1:{port}")
        self.process, self.log = process, log

    def _open(self, *request: Any) -> Any:
        try:
            return super()._open(*request)
        except Unreachable as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(LAST_WORDS)
            if self.process.poll() is not None:
                raise Died(f"ComfyUI {ending(self.process.returncode)}:\n{tail(self.log)}") from error
            raise

    def cancel(self, job_id: str, *, patience: float = 5.0) -> bool:
        """As any client's; the jobs of a server that has ended are cancelled already."""
        with contextlib.suppress(Died):
            return super().cancel(job_id, patience=patience)
        return True


def ending(status: int) -> str:
    """How a process ended, in words."""
    if status == -9:
        return "was killed (signal 9); the machine may have run out of memory"
    return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"


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
        client = OwnClient(port, process, log)
        wait_until_up(client)
        yield client
    finally:
        stop(process)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_up(client: OwnClient, *, timeout: float = 600.0) -> None:
    end, plain = time.monotonic() + timeout, Client(client.server)
    while time.monotonic() < end:
        if (status := client.process.poll()) is not None:
            raise Died(f"ComfyUI {ending(status)} while starting:\n{tail(client.log)}")
        with contextlib.suppress(Refused, OSError):
            plain.get("/system_stats")
            return
        time.sleep(0.2)
    raise TimeoutError(f"ComfyUI did not answer within {timeout:.0f} s:\n{tail(client.log)}")


@contextlib.contextmanager
def explained(base: Path, what: str) -> Iterator[None]:
    """End the command in words where something goes wrong, with the end of the server's log."""
    try:
        yield
    except (ValueError, OSError) as error:
        log = base / "server.log"
        words = f"{what}: {error}"
        if log.is_file():
            shown = "" if isinstance(error, Died) else f"{tail(log)}\n\n"
            words = f"{shown}{words}\nthe whole log: {keep(log)}"
        raise SystemExit(words) from None


def keep(log: Path) -> Path | str:
    """Copy a log out of a folder that is about to go; returns where to."""
    target = cache.folder() / "logs" / f"server-{time.strftime('%Y%m%d-%H%M%S')}.log"
    try:
        with local.writing(target) as (file, made), open(log, "rb") as source:
            shutil.copyfileobj(source, file)
    except OSError as error:
        return f"not kept ({error.strerror})"
    return made


def tail(log: Path, lines: int = 25) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def stop(process: subprocess.Popen, *, patience: float = 15.0) -> None:
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
