"""Pictures to train on: where they come from, which are kept for judging, which are left out."""

import numpy as np
import pytest
import torch
from PIL import Image

from svd_core.training import library, pictures
from svd_core.training.library import to_tensor

photographs = pytest.importorskip("svd_core.training.photographs")
for package in ("skimage", "sklearn"):
    pytest.importorskip(package)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A library of eight pictures of one colour each, one of them twice, and an animation."""
    names = [f"{kind}_{i}.webp" for i in range(4) for kind in ("image", "api")]
    for k, name in enumerate(names):
        picture = np.full((40, 60, 3), 10 + 25 * k, np.uint8)
        picture[:6] = 255  # the badge of those whose names begin with api_
        Image.fromarray(picture).save(tmp_path / name, lossless=True)
    (tmp_path / "copy.webp").write_bytes((tmp_path / "image_3.webp").read_bytes())
    frames = [Image.fromarray(np.full((32, 32, 3), 60 * k, np.uint8)) for k in range(4)]
    frames[0].save(tmp_path / "video.webp", save_all=True, append_images=frames[1:], lossless=True)
    library.files.cache_clear()
    monkeypatch.setattr(library, "folders", lambda: [tmp_path])
    yield tmp_path
    library.files.cache_clear()


def test_each_picture_is_found_once_in_the_order_of_names(folder):
    names = [path.name for path in library.files()]
    assert len(names) == 9
    assert names == sorted(names)
    assert "image_3.webp" not in names  # the same bytes as copy.webp


def test_badge_is_cut_off_before_the_centre_square(folder):
    assert (library.read(folder / "api_0.webp", size=16) == 35).all()
    assert (library.read(folder / "image_0.webp", size=16)[0] > 200).all()


def test_animation_gives_its_first_frame(folder):
    frame = library.read(folder / "video.webp", size=16)
    assert frame.shape == (16, 16, 3)
    assert (frame == 0).all()


def test_names_split_the_library_whatever_its_folder():
    found = [library.judges(f"picture-{i}.webp") for i in range(2000)]
    assert np.mean(found) == pytest.approx(26 / 256, abs=0.02)
    assert library.judges("picture-1.webp") == found[1]


def test_brighter_copy_of_a_judging_picture_is_left_out(folder, monkeypatch):
    rng = np.random.default_rng(0)
    for path in folder.glob("*.webp"):
        path.unlink()
    held_out = rng.integers(0, 200, (8, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    other = rng.integers(0, 200, (8, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    for name, picture in (("judge", held_out), ("copy", held_out + 40), ("other", other)):
        Image.fromarray(picture).save(folder / f"{name}.webp", lossless=True)
    monkeypatch.setattr(library, "judges", lambda name: name == "judge.webp")
    for judging, wanted in ((True, ["judge.webp"]), (False, ["other.webp"])):
        paths, stills = library.stills(size=64, judging=judging)
        assert [path.name for path in paths] == wanted
        assert stills.shape == (1, 64, 64, 3)


def test_missing_library_says_what_to_install(monkeypatch):
    monkeypatch.setattr(library, "PACKAGES", ("a_package_that_nobody_has",))
    with pytest.raises(ValueError, match="is installed; install comfyui-workflow-templates"):
        library.folders()


def test_training_and_judging_photographs_are_apart_and_installed():
    assert not set(photographs.TRAINING) & set(photographs.JUDGING)
    assert len(photographs.JUDGING) == 8
    for name in photographs.TRAINING + photographs.JUDGING:
        assert photographs.find(name).is_file()


def test_crops_come_from_training_photographs_only(monkeypatch):
    asked = []
    monkeypatch.setattr(
        photographs, "load", lambda name: asked.append(name) or Image.new("RGB", (64, 64), (90, 80, 70))
    )
    for seed in range(40):
        photographs.random_crop(np.random.default_rng(seed), size=16)
    assert set(asked) <= set(photographs.TRAINING)
    assert len(set(asked)) > 5


def test_missing_photograph_says_what_to_install():
    with pytest.raises(
        ValueError, match="'nothing.png' was not found.*install scikit-image and scikit-learn"
    ):
        photographs.find("nothing.png")


def test_curves_and_sheets_are_written_as_png(tmp_path):
    history = [{"step": 20 * i, "loss": 1 / i, "psnr": 20.0 + i} for i in range(1, 15)]
    pictures.save(tmp_path / "curves.png", pictures.curves(history, title="vae"))
    pictures.save(tmp_path / "sheet.png", pictures.sheet([torch.zeros(2, 3, 8, 8), torch.ones(3, 3, 8, 8)]))
    assert Image.open(tmp_path / "curves.png").size == (640, 480)
    assert Image.open(tmp_path / "sheet.png").size == (24, 24)


def test_to_tensor_spans_minus_one_to_one():
    assert to_tensor(np.array([[[0, 255, 51]]], np.uint8)).flatten().tolist() == pytest.approx([-1, 1, -0.6])
