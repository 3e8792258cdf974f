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


@pytest.mark.usefixtures("_alone")
def test_named_host_is_used_with_its_version(tmp_path, monkeypatch):
    monkeypatch.setenv("COMFYUI_PATH", str(make_host(tmp_path / "ComfyUI")))
    monkeypatch.setenv("PURESVD_PYTHON", str(tmp_path / "no-such-python"))
    found = host.find()
    assert (found.path, found.version, found.python) == (tmp_path / "ComfyUI", "0.24.1", None)


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
