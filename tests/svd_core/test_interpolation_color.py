"""Deflicker and colour lock: what they remove, and that motion stays."""

import math

import pytest
import torch
import torch.nn.functional as F

from svd_core.frames.color_lock import lock_color
from svd_core.frames.deflicker import deflicker

T = 12


def filmed(H, W):
    """A pan with a block that moves against it."""
    g = torch.Generator().manual_seed(0)
    wide = F.interpolate(torch.rand(1, 3, 8, 20, generator=g), size=(H, W + 2 * T), mode="bicubic")[0]
    wide = wide.clamp(0, 1) * 0.5 + 0.2
    frames = []
    for i in range(T):
        frame = wide[:, :, 2 * i : 2 * i + W].clone()
        frame[:, H // 4 : 3 * H // 4 - 1, W // 8 + i : W // 8 + H // 2 + i] = torch.tensor(
            [0.7, 0.3, 0.2]
        ).view(3, 1, 1)
        frames.append(frame)
    return torch.stack(frames)


@pytest.fixture(scope="module", params=[(36, 64), (24, 40)], ids=str)
def clip(request):
    return filmed(*request.param)


def departure(x, clean):
    d = (x - clean).mean((2, 3))
    return float((d - d.mean(0)).square().mean().sqrt())


@pytest.mark.parametrize(
    ("gain", "offset"), [((0.1, 0.1, 0.1), 0.0), ((0.1, -0.05, 0.03), 0.0), ((0.0, 0.0, 0.0), 0.1)]
)
@pytest.mark.parametrize("period", [2.5, 6.0])
def test_sinusoidal_flicker_is_removed_by_20_decibels(clip, gain, offset, period):
    wave = torch.sin(2 * math.pi * torch.arange(T) / period).view(-1, 1, 1, 1)
    flickering = (clip * (1 + wave * torch.tensor(gain).view(1, 3, 1, 1)) + offset * wave).clamp(0, 1)
    steady = deflicker(flickering)
    assert 20 * math.log10(departure(flickering, clip) / departure(steady, clip)) > 20


def test_a_clip_without_flicker_stays_within_one_percent(clip):
    assert float((deflicker(clip) - clip).abs().max()) < 0.01


def test_scenes_are_deflickered_apart(clip):
    two = torch.cat((clip[:6] * 0.4, 1 - clip[:6]))
    assert float((deflicker(two) - two).abs().max()) < 0.01


def test_strength_nought_changes_nothing(clip):
    flickering = clip * (1 + 0.1 * (torch.arange(T) % 2).view(-1, 1, 1, 1))
    assert torch.equal(deflicker(flickering, strength=0.0), flickering)
    assert torch.equal(lock_color(flickering, strength=0.0), flickering)


def test_lock_color_pins_mean_and_covariance(clip):
    drifting = clip * torch.linspace(1, 0.7, T).view(-1, 1, 1, 1) + torch.linspace(0, 0.1, T).view(
        -1, 1, 1, 1
    )
    out = lock_color(drifting)
    for frame in out:
        assert torch.allclose(
            frame.mean((1, 2)), clip[0].mean((1, 2)), atol=2e-3
        )  # clipping to 0..1 moves a little
        assert torch.allclose(torch.cov(frame.flatten(1)), torch.cov(clip[0].flatten(1)), atol=2e-3)


def test_reference_of_another_size_and_its_own_colours(clip):
    reference = torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(1)) * 0.2 + 0.4
    out = lock_color(clip, reference=reference)
    assert torch.allclose(out.mean((2, 3)), reference.mean((2, 3)).expand(T, -1), atol=2e-3)
    assert torch.allclose(lock_color(clip, reference=clip[:1])[0], clip[0], atol=1e-3)  # already there


def test_every_clip_of_a_batch_gets_its_own_reference(clip):
    batch = torch.cat((clip, clip * 0.8))
    photos = torch.stack((clip[0] * 0.7 + 0.1, clip[0].flip(0)))
    out = lock_color(batch, reference=photos)
    for half, photo in zip(out.chunk(2), photos.split(1)):
        assert torch.allclose(half.mean((2, 3)), photo.mean((2, 3)).expand(T, -1), atol=2e-3)
    together = lock_color(clip[:3], reference=photos)  # no whole number of frames for each
    assert torch.allclose(together.mean((0, 2, 3)), photos.mean((0, 2, 3)), atol=2e-2)
    anchored = lock_color(clip, anchor_frames=2)  # of one clip
    assert torch.allclose(anchored[-1].mean((1, 2)), clip[:2].mean((0, 2, 3)), atol=2e-3)


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (3, 3, 1, 1), (3, 1, 9, 9), (3, 2, 9, 9), (3, 4, 9, 9)])
def test_odd_shapes_are_defined_and_alpha_stays(shape):
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    for out in (deflicker(x), lock_color(x)):
        assert out.shape == x.shape
        assert torch.isfinite(out).all()
        if shape[1] in (2, 4):
            assert torch.equal(out[:, -1], x[:, -1])


def test_bad_numbers_are_refused(clip):
    for call, words in (
        (lambda: deflicker(clip, window=1), "window is 1; use 2"),
        (lambda: deflicker(clip, window=float("nan")), "window is nan"),
        (lambda: deflicker(clip, strength=2), "strength is 2"),
        (lambda: lock_color(clip, strength=-1), "strength is -1"),
        (lambda: lock_color(clip, anchor_frames=0), "anchor_frames is 0"),
        (lambda: lock_color(clip, reference=torch.rand(1, 1, 4, 4)), "channels"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_slow_change_stays_in_longer_clips_and_flicker_goes():
    t = torch.arange(25.0).view(-1, 1, 1, 1)
    scene = torch.rand(1, 3, 24, 40, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.3
    breathing = scene * (1 + 0.02 * torch.sin(2 * math.pi * t / 50))
    assert float((deflicker(breathing) - breathing).abs().max()) < 0.005  # an eighth of the change is 0.0025
    dirty = breathing * (1 + 0.1 * torch.sin(2 * math.pi * t / 4))
    assert departure(dirty, breathing) > 10 * departure(deflicker(dirty), breathing)  # 20 dB
