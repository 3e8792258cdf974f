"""Scenes, photographs and clip files: deterministic, with true flow, split for training and judging."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from svd_core.training import clips as clip_files
from svd_core.training import pictures, scenes
from svd_core.training.clips import ClipSet, to_tensor
from svd_core.training.diffusion import draw_pan
from svd_core.training.scenes import Camera, Layer, motion_bucket, render, similarity

photographs = pytest.importorskip("svd_core.training.photographs")
for package in ("skimage", "sklearn"):
    pytest.importorskip(package)


def plain_camera(*, pan=(0.0, 0.0), zoom=0.0, roll=0.0, frames=3):
    return Camera(np.array(pan), zoom, roll, np.zeros(2), np.arange(frames, dtype=float))


def ground(texture, frames=3):
    return Layer(
        texture,
        1.0,
        similarity(scale=np.ones(frames), angle=np.zeros(frames), shift=np.zeros((frames, 2))),
        None,
    )


def smooth_texture(size=64):
    axis = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack(
        [0.5 + 0.3 * torch.sin(3 * x + 2 * y), 0.5 + 0.3 * torch.cos(4 * y), 0.5 + 0.2 * x * y]
    )[None]


def test_seed_gives_the_clip():
    a, b, c = (scenes.draw_clip(seed, frames=2, size=32) for seed in (5, 5, 6))
    assert torch.equal(a.frames, b.frames)
    assert torch.equal(a.flow, b.flow)
    assert not torch.equal(a.frames, c.frames)


def test_pan_moves_every_pixel_alike():
    clip = render([ground(smooth_texture())], plain_camera(pan=(0.125, -0.0625)), size=32)
    expected = torch.tensor([2.0, -1.0]).view(1, 2, 1, 1).expand(2, 2, 32, 32)  # half-widths of 16 pixels
    torch.testing.assert_close(clip.flow, expected)
    assert float(clip.speed[0]) == pytest.approx(5**0.5 / 32, rel=1e-5)


def test_zoom_and_roll_move_pixels_away_from_and_around_the_centre():
    axis = (torch.arange(32) - 15.5).expand(32, 32)
    zoomed = render([ground(smooth_texture())], plain_camera(zoom=0.01), size=32).flow[0]
    torch.testing.assert_close(zoomed, torch.stack([axis, axis.T]) * (np.exp(0.01) - 1), rtol=1e-3, atol=1e-5)
    rolled = render([ground(smooth_texture())], plain_camera(roll=0.01), size=32).flow[0]
    assert (rolled * torch.stack([axis, axis.T])).sum(
        0
    ).abs().max() < 0.03  # at right angles to the radius, to first order


def test_frames_follow_the_flow():
    camera = plain_camera(pan=(0.05, 0.02), zoom=0.03, roll=0.02)
    clip = render([ground(smooth_texture())], camera, size=64)
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    where = (torch.stack([x, y], -1) + clip.flow[0].movedim(0, -1)) * 2 + 1
    warped = F.grid_sample(clip.frames[1:2], where[None] / 64 - 1, align_corners=False)
    error, still = ((v - clip.frames[:1])[..., 8:-8, 8:-8].abs().mean() for v in (warped, clip.frames[1:2]))
    assert error < 0.03 * still  # what bilinear sampling leaves of a smooth texture


def test_near_layers_move_faster_under_a_pan():
    camera = plain_camera(pan=(0.1, 0.0))
    near, far = (camera.view(depth)[1][0, 2] for depth in (0.5, 1.0))
    assert near == pytest.approx(2 * far)


def test_bucket_is_speed_in_widths_a_second():
    assert motion_bucket(0.0, fps=7) == 0
    assert motion_bucket(scenes.FULL_SPEED / 14, fps=7) == pytest.approx(127.5)
    assert motion_bucket(0.001, fps=14) == pytest.approx(2 * motion_bucket(0.001, fps=7))
    assert motion_bucket(1.0, fps=7) == 255


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


def test_clip_files_are_drawn_once_and_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(clip_files, "PER_FILE", 2)
    clips = ClipSet(tmp_path, count=2, frames=3, size=32)
    clip_files.draw_file(0, clips)
    drawn = scenes.draw_clip(1, frames=3, size=32)
    assert np.abs(clips.clip(1).transpose(0, 3, 1, 2) / 255 - drawn.frames.numpy()).max() <= 0.5 / 255 + 1e-6
    np.testing.assert_allclose(clips.speed(1), drawn.speed.numpy())
    before = clips.file("clips", 0).stat().st_mtime_ns
    clip_files.draw_file(0, clips)
    assert clips.file("clips", 0).stat().st_mtime_ns == before
    crop = clips.crop(np.random.default_rng(0), frames=2, size=16)
    assert crop.shape == (2, 3, 16, 16)
    assert -1 <= float(crop.min()) <= float(crop.max()) <= 1


def test_curves_and_sheets_are_written_as_png(tmp_path):
    history = [{"step": 20 * i, "loss": 1 / i, "psnr": 20.0 + i} for i in range(1, 15)]
    pictures.save(tmp_path / "curves.png", pictures.curves(history, title="vae"))
    pictures.save(tmp_path / "sheet.png", pictures.sheet([torch.zeros(2, 3, 8, 8), torch.ones(3, 3, 8, 8)]))
    assert Image.open(tmp_path / "curves.png").size == (640, 480)
    assert Image.open(tmp_path / "sheet.png").size == (24, 24)


def test_to_tensor_spans_minus_one_to_one():
    assert to_tensor(np.array([[[0, 255, 51]]], np.uint8)).flatten().tolist() == pytest.approx([-1, 1, -0.6])


def test_pan_moves_a_window_at_the_stated_speed():
    axis = np.linspace(0, 255, 96).astype(np.uint8)
    still = np.stack([*np.meshgrid(axis, axis), np.zeros((96, 96), np.uint8)], -1)  # red is x, green is y
    for seed in range(4):
        rng = np.random.default_rng(seed)
        frames, speed = draw_pan(rng, still, frames=5, size=64, fastest=2.0)
        assert frames.shape == (5, 3, 64, 64)
        moved = frames.diff(dim=0)[:, :2].mean((2, 3)) * 95 / 2  # pixels, from the ramps' slope
        torch.testing.assert_close(
            moved.norm(dim=1), torch.full((4,), float(speed)), rtol=0.02, atol=0.02
        )  # the ramps are rounded to 255
        assert moved.diff(dim=0).abs().max() < 0.02  # at constant pace


def test_one_way_pans_show_what_lies_to_the_right():
    still = (
        np.zeros((96, 96, 3), np.uint8) + np.arange(96, dtype=np.uint8)[:, None]
    )  # brightness is x, in both mirrorings
    still = np.maximum(still, still[:, ::-1]) - 48  # darkest in the middle
    for seed in range(4):
        rng = np.random.default_rng(seed)
        frames, speed = draw_pan(rng, still, frames=4, size=64, fastest=2.0, one_way=True)
        assert speed > 0
        assert (frames[1:, :, :, -9:].mean((1, 2, 3)) > frames[:-1, :, :, -9:].mean((1, 2, 3))).all()


def test_pan_over_a_still_of_its_own_size_stands():
    still = np.random.default_rng(0).integers(0, 256, (65, 65, 3), dtype=np.uint8)
    frames, speed = draw_pan(np.random.default_rng(1), still, frames=3, size=64, fastest=2.0)
    assert speed == 0
    assert torch.equal(frames[0], frames[2])
