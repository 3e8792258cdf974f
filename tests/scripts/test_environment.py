"""An environment is reused only when its record says that it is complete."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts import cache, environment
from scripts.host import Host


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A host with a requirement file, a cache of its own, and pip and venv that only take notes."""
    (tmp_path / "requirements.txt").write_text("aiohttp\n")
    monkeypatch.setenv("PURESVD_CACHE", str(tmp_path / "cache"))
    notes = []
    monkeypatch.setattr(cache, "run", lambda *command, env=None: notes.append([str(c) for c in command]))
    monkeypatch.setattr(environment, "make", lambda base, host: base.mkdir(parents=True, exist_ok=True))
    return Host(tmp_path, None), notes


def test_complete_environment_calls_no_installer(fake):
    host, notes = fake
    environment.prepare(host, tests=True)
    made = len(notes)
    assert made == 2  # the host's packages, then the test tools
    environment.prepare(host, tests=True)
    environment.prepare(host, tests=False)
    assert len(notes) == made


def test_demo_installs_no_test_tools(fake):
    host, notes = fake
    environment.prepare(host, tests=False)
    assert len(notes) == 1
    assert "torch==2.11.0" in notes[0]


def test_interrupted_installation_is_made_anew(fake, monkeypatch):
    host, notes = fake
    with monkeypatch.context() as patch:
        patch.setattr(cache, "run", lambda *command, env=None: sys.exit("interrupted"))
        with pytest.raises(SystemExit):
            environment.prepare(host, tests=False)
    environment.prepare(host, tests=False)
    assert len(notes) == 1


def test_changed_requirements_give_another_environment(fake):
    host, _ = fake
    before = environment.prepare(host, tests=False)
    (host.path / "requirements.txt").write_text("aiohttp\nav\n")
    assert environment.prepare(host, tests=False) != before


def test_hosts_own_python_is_used_as_it_is(fake):
    host, notes = fake
    own = Path(sys.executable)
    assert environment.prepare(Host(host.path, own), tests=False) == own
    assert not notes


def test_lock_is_free_again_when_its_process_dies(tmp_path, monkeypatch):
    monkeypatch.setenv("PURESVD_CACHE", str(tmp_path))
    assert elsewhere("with cache.locked('x'): os._exit(7)") == 7
    attempt = "file = open(cache.folder() / 'x.lock', 'a+'); sys.exit(cache.try_lock(file.fileno()))"
    with cache.locked("x"):
        assert elsewhere(attempt) == 0
    assert elsewhere(attempt) == 1


def elsewhere(code):
    """Exit status of a few lines in another process."""
    start = "import os, sys\nsys.path.insert(0, '.')\nfrom scripts import cache\n"
    return subprocess.run([sys.executable, "-c", start + code], cwd=cache.ROOT, check=False).returncode


def test_portable_python_without_venv_is_helped_by_one_of_its_version(monkeypatch):
    own, answers = Path(sys.executable), {"import ensurepip, venv": (1, "")}
    version = "import sys; print(*sys.version_info[:2], sep='.')"

    def ask(python, code):
        status, out = answers.get(code, (0, ""))
        return subprocess.CompletedProcess([], status, out)

    monkeypatch.setattr(cache, "ask", ask)
    answers[version] = (0, "{}.{}\n".format(*sys.version_info))
    assert environment.maker(Path("python_embeded/python.exe")) == own
    answers[version] = (0, "3.9\n")
    with pytest.raises(SystemExit, match=r"run this script with a Python 3\.9"):
        environment.maker(Path("python_embeded/python.exe"))


@pytest.mark.parametrize("name", ["file", "file/below", "/proc/none"])
def test_cache_that_cannot_be_a_folder_is_a_sentence(tmp_path, monkeypatch, name):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PURESVD_CACHE", str(tmp_path / name))
    with pytest.raises(SystemExit, match=f"{name} cannot be made .*; set PURESVD_CACHE to a folder"):
        cache.folder()


def test_lock_that_cannot_be_written_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PURESVD_CACHE", str(tmp_path))
    (tmp_path / "x.lock").mkdir()
    with pytest.raises(
        SystemExit, match="x.lock cannot be written .*; set PURESVD_CACHE to a folder of your"
    ):
        cache.locked("x").__enter__()
