"""Finding and unpacking a host."""

import io
import tarfile

import pytest

from scripts import host


def add(tar, name, data=b"x", kind=tarfile.REGTYPE, link=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    member.size = len(data) if kind == tarfile.REGTYPE else 0
    tar.addfile(member, io.BytesIO(data))


def test_unpack_writes_only_plain_files_below_the_inner_folder(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        add(tar, "pkg-1/vendor/ComfyUI/main.py")
        add(tar, "pkg-1/vendor/ComfyUI/comfy/model.py")
        add(tar, "pkg-1/setup.py")
        add(tar, "pkg-1/vendor/ComfyUI/../../../outside.py")
        add(tar, "/pkg-1/vendor/ComfyUI/absolute.py")
        add(tar, "pkg-1/vendor/ComfyUI/c:evil.py")
        add(tar, "pkg-1/vendor/ComfyUI/back\\slash.py")
        add(tar, "pkg-1/vendor/ComfyUI/link", kind=tarfile.SYMTYPE, link="/etc")
        add(tar, "pkg-1/vendor/ComfyUI/hard", kind=tarfile.LNKTYPE, link="/etc/passwd")
    host.unpack(tmp_path / "a.tar.gz", "vendor/ComfyUI", tmp_path / "tree")
    written = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.py"))
    assert written == ["tree/comfy/model.py", "tree/main.py"]
    assert not (tmp_path / "tree" / "link").exists()
    assert not (tmp_path / "tree" / "hard").exists()


def make_host(path):
    (path / "comfy").mkdir(parents=True)
    (path / "main.py").write_text("")
    (path / "comfyui_version.py").write_text('__version__ = "0.24.1"\n')
    return path


@pytest.fixture
def _alone(monkeypatch):
    """As if this checkout lay in no ComfyUI."""
    monkeypatch.setattr(host, "around", lambda pack: None)
    for name in ("COMFYUI_PATH", "PURESVD_PYTHON"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("_alone")
def test_named_host_is_used_with_its_version(tmp_path, monkeypatch):
    monkeypatch.setenv("COMFYUI_PATH", str(make_host(tmp_path / "ComfyUI")))
    monkeypatch.setattr(host, "missing", lambda python: "torch")
    found = host.find()
    assert (found.path, found.version, found.python) == (tmp_path / "ComfyUI", "0.24.1", None)


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.usefixtures("_alone")
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "which is not a file"),
        (lambda path: path.mkdir(), "which is not a file"),
        (lambda path: path.write_text(""), "which does not run as a Python"),
        (lambda path: script(path, "exit 3"), "which does not run as a Python"),
        (lambda path: script(path, "true"), "which does not run as a Python"),
        (lambda path: script(path, "echo torch, einops"), "which lacks torch, einops"),
    ],
)
@pytest.mark.parametrize("named", [True, False], ids=["named host", "pinned host"])
def test_wrong_python_is_a_sentence_and_nothing_is_fetched(tmp_path, monkeypatch, make, said, named):
    make(tmp_path / "python")
    monkeypatch.setenv("PURESVD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PURESVD_PYTHON", str(tmp_path / "python"))
    if named:
        monkeypatch.setenv("COMFYUI_PATH", str(make_host(tmp_path / "ComfyUI")))
    monkeypatch.setattr(host, "pinned", lambda version: pytest.fail("a host was fetched"))
    with pytest.raises(SystemExit, match=f"PURESVD_PYTHON is .*, {said}; set it to the interpreter"):
        host.find()


@pytest.mark.usefixtures("_alone")
def test_right_python_serves_the_pinned_host_too(tmp_path, monkeypatch):
    script(tmp_path / "python", "echo")
    monkeypatch.setenv("PURESVD_PYTHON", str(tmp_path / "python"))
    monkeypatch.setattr(host, "pinned", lambda version: tmp_path)
    assert host.find() == host.Host(tmp_path, tmp_path / "python")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PURESVD_PYTHON", "python")
    assert host.find().python == tmp_path / "python"


@pytest.mark.usefixtures("_alone")
def test_named_host_that_is_none_is_refused_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="holds no main.py.*unset it"):
        host.find()


def test_host_around_the_pack_is_found_through_a_link(tmp_path):
    pack = make_host(tmp_path / "ComfyUI") / "custom_nodes" / "PureSVD"
    pack.mkdir(parents=True)
    assert host.around(pack) == tmp_path / "ComfyUI"
    assert host.around(tmp_path / "elsewhere") is None
