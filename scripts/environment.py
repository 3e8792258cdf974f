"""The Python that a host and the tests run on: the host's own, else one made once in the cache."""

import hashlib
import json
import os
import platform
import shutil
import sys
from pathlib import Path

from scripts import cache
from scripts.host import Host

TORCH = ("torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0")
TEST_REQUIREMENTS = cache.ROOT / "requirements-test.txt"
# A .pth file's text that gives another interpreter the packages of the one that runs this.
_SITE = """
import sys
for path in sys.path:
    if path.endswith("-packages"):
        print(f"import site; site.addsitedir({path!r})")
"""
_ACCELERATED = """
import sys, torch
xpu = getattr(torch, "xpu", None)
sys.exit(not (torch.cuda.is_available() or torch.backends.mps.is_available() or (xpu and xpu.is_available())))
"""


def prepare(host: Host, *, tests: bool) -> Path:
    """The interpreter to run this host with; nothing is fetched when it is complete."""
    if host.python and not (tests and _missing(host.python)):
        return host.python
    base = _beside(host.python) if host.python else _own(host)
    wanted = {"base": True, "tests": _digest(TEST_REQUIREMENTS.read_text(encoding="utf-8"))}
    python = cache.inside_venv(base)
    if _state(base).get("base") and (not tests or _state(base) == wanted):
        return python
    with cache.locked(base.name):
        if not _state(base).get("base"):
            make(base, host)
            _install(base, python, *_host_requirements(host))
            _finish(base, {"base": True})
        if tests and _state(base) != wanted:
            pins = [] if host.python else TORCH
            _install(base, python, *pins, "-r", TEST_REQUIREMENTS)
            _finish(base, wanted)
    return python


def beside(python: Path, requirements: Path) -> Path:
    """A folder with more packages for this interpreter, to be put on its path; made once."""
    folder = (
        cache.folder()
        / f"{requirements.stem}-{_digest(str(python), requirements.read_text(encoding='utf-8'))}"
    )
    with cache.locked(folder.name):
        if not folder.is_dir():
            part = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            cache.run(
                python, "-m", "pip", "install", "-q", "--target", part, "-r", requirements, env=cache.clean()
            )
            part.rename(folder)
    return folder


def has_accelerator(python: Path) -> bool:
    return cache.ask(python, _ACCELERATED).returncode == 0


def _own(host: Host) -> Path:
    """An environment of ours, named after all that decides what is in it."""
    requirements = (host.path / "requirements.txt").read_text(encoding="utf-8")
    key = (requirements, *TORCH, platform.python_version(), platform.machine(), sys.base_prefix)
    return cache.folder() / f"env-{_digest(*key)}"


def _beside(python: Path) -> Path:
    """A small environment that sees the packages of the host's own Python and adds only the test tools."""
    return cache.folder() / f"tests-{_digest(str(python))}"


def _host_requirements(host: Host) -> tuple[object, ...]:
    return () if host.python else (*TORCH, "-r", host.path / "requirements.txt")


def make(base: Path, host: Host) -> None:
    shutil.rmtree(base, ignore_errors=True)
    size = "small, for the test tools" if host.python else "several minutes, about 6 GB"
    cache.say(f"making an isolated environment in {base} (once; {size})")
    cache.make_venv(maker(host.python) if host.python else Path(sys.executable), base)
    if host.python:
        site = next(base.glob("**/site-packages"))
        (site / "host.pth").write_text(cache.ask(host.python, _SITE).stdout, encoding="utf-8")


def maker(python: Path) -> Path:
    """An interpreter of the host's version that can make environments; ComfyUI's portable one cannot."""
    if cache.ask(python, "import ensurepip, venv").returncode == 0:
        return python
    version = cache.ask(python, "import sys; print(*sys.version_info[:2], sep='.')").stdout.strip()
    if version != "{}.{}".format(*sys.version_info):
        raise SystemExit(
            f"{python} has no venv module to make room for the test tools; run this script with a Python "
            f"{version}"
        )
    return Path(sys.executable)


def _install(base: Path, python: Path, *what: object) -> None:
    """pip install, with the record gone meanwhile: an interrupted install is made anew, never reused."""
    _record(base).unlink(missing_ok=True)
    if what:
        quiet = () if sys.stdout.isatty() else ("-q", "--progress-bar", "off")
        cache.say(f"installing {' '.join(str(part) for part in what)}")
        cache.run(
            python, "-m", "pip", "install", "--disable-pip-version-check", *quiet, *what, env=cache.clean()
        )


def _finish(base: Path, state: dict[str, object]) -> None:
    part = base / "puresvd.json.part"
    part.write_text(json.dumps(state), encoding="utf-8")
    os.replace(part, _record(base))


def _record(base: Path) -> Path:
    return base / "puresvd.json"


def _state(base: Path) -> dict[str, object]:
    return json.loads(_record(base).read_text(encoding="utf-8")) if _record(base).is_file() else {}


def _missing(python: Path) -> bool:
    """Whether any test tool is absent from this interpreter."""
    lines = TEST_REQUIREMENTS.read_text(encoding="utf-8").split()
    names = [line.split("=")[0].split(">")[0].split("<")[0] for line in lines]
    code = f"import importlib.metadata as m; [m.version(name) for name in {names!r}]"
    return cache.ask(python, code).returncode != 0


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
