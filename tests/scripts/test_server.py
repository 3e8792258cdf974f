"""The folder a server runs over: it shows the pack and leaves the checkout alone."""

import shutil
import sys

import pytest

from scripts import cache, server


def test_temporary_base_shows_the_pack_and_leaves_the_checkout():
    with server.temporary_base() as base:
        assert (base / "custom_nodes" / "PureSVD" / "nodes").is_dir()
        assert (base / "models" / "checkpoints").is_dir()
    assert not base.exists()
    assert (cache.ROOT / "nodes").is_dir()


def test_pack_is_copied_where_links_are_not_allowed(tmp_path, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise OSError("a required privilege is not held by the client")

    small = tmp_path / "checkout"
    shutil.copytree(cache.ROOT / "clients", small / "clients")
    (small / ".git").mkdir()
    monkeypatch.setattr(cache, "ROOT", small)
    monkeypatch.setattr("pathlib.Path.symlink_to", refuse)
    server.link_pack(tmp_path / "PureSVD")
    assert (tmp_path / "PureSVD" / "clients" / "puresvd_client.py").is_file()
    assert not (tmp_path / "PureSVD" / ".git").exists()


def test_host_that_cannot_start_shows_its_last_words(tmp_path):
    (tmp_path / "main.py").write_text("raise SystemExit('no module named torch')")
    with server.temporary_base() as base:
        with pytest.raises(server.Died, match="status 1 while starting:\nno module named torch"):
            with server.running(tmp_path, base, python=sys.executable):
                pass
