"""Scene cuts and fades: what is blended, and what is not."""

import pytest
import torch
import torch.nn.functional as F

from svd_core.frames.cuts import is_cut
from svd_core.frames.video import interpolate

H, W = 72, 128


def texture(seed, height=H, width=W, grain=8):
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // grain + 3, width // grain + 3, generator=g)
    return F.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)


def letterboxed(x):
    return framed(x, torch.zeros(1, 3, H, W), slice(10, -10), slice(None))


def portrait(x):
    return framed(x, torch.zeros(1, 3, H, W), slice(None), slice(44, -44))


def grey_sides(x):
    return framed(x, torch.full((1, 3, H, W), 0.6), slice(None), slice(40, -40))


def two_levels(x):
    """Letterboxed in a grey picture with a logo in it"""
    back = torch.full((1, 3, H, W), 0.3)
    back[..., 6:-6, :] = 0
    back[..., 3:9, 8:30] = 0.9
    return framed(x, back, slice(14, -14), slice(None))


def overlaid(x):
    """A static panel of texture over the lower half"""
    return framed(x, texture(999), slice(0, H // 2), slice(None))


def framed(x, back, rows, columns):
    y = back.clone()
    y[..., rows, columns] = F.interpolate(x, size=y[..., rows, columns].shape[-2:], mode="bilinear")
    return y


@pytest.mark.parametrize("form", [letterboxed, portrait, grey_sides, two_levels, overlaid])
def test_what_stands_still_hides_no_cut(form):
    cuts = [is_cut(form(texture(seed)), form(texture(seed + 50))) for seed in range(20)]
    assert sum(cuts) >= 19  # of so few grains a pair may look alike by chance
    wide = [texture(seed, width=W + 12) for seed in range(20)]
    assert not any(is_cut(form(x[..., :W]), form(x[..., 12:])) for x in wide)  # a pan of a tenth


def test_a_body_that_moves_over_a_still_scene_is_no_cut():
    body = texture(5, 30, 30, grain=10)
    for seed in range(10):
        a, b = texture(seed), texture(seed)
        a[..., 20:50, 20:50] = b[..., 24:54, 60:90] = body
        assert not is_cut(a, b)


def bands(seed, steps=(8, -8, 4, -4)):
    """Two frames of four bands of texture, each of which moves its own way; no shift serves more than one"""
    wide = [texture(seed + 100 * k, H // 4, W + 16) for k in range(4)]
    a = torch.cat([x[..., 8 : 8 + W] for x in wide], -2)
    return a, torch.cat([x[..., 8 + s : 8 + s + W] for x, s in zip(wide, steps)], -2)


@pytest.mark.parametrize("light", [1.0, 0.1])
def test_bodies_that_move_each_its_own_way_are_no_cut(light):
    for seed in range(6):
        a, b = bands(seed)
        assert not is_cut(light * a, light * b)


@pytest.mark.parametrize("light", [1.0, 0.1])
def test_a_cut_between_scenes_that_look_alike_is_found(light):
    """A bright spot at another place, as two portraits have it: a shift makes them alike, motion does not"""
    y, x = torch.meshgrid(torch.arange(H) - H / 2, torch.arange(W) - W / 2, indexing="ij")
    for seed in range(6):
        a, b = (0.5 * torch.exp(-((x - at) ** 2 + y**2) / 800) + 0.5 * texture(seed + at) for at in (-15, 15))
        assert is_cut(light * a, light * b)


@pytest.mark.parametrize("colour", [0.0, 1.0])
@pytest.mark.parametrize(("length", "form"), [(3, letterboxed), (4, torch.clone), (12, torch.clone)])
def test_fades_are_smooth_to_the_end(colour, length, form):
    share = torch.linspace(1, 0, length + 1)
    fade = torch.cat([form(colour + (texture(0) - colour) * s) for s in (1.0, *share.tolist(), 0.0)])
    for clip in (fade, fade.flip(0)):
        light = interpolate(clip, source_fps=1, target_fps=2).mean((1, 2, 3))
        exact = F.interpolate(
            clip.mean((1, 2, 3))[None, None], size=len(light), mode="linear", align_corners=True
        )
        assert float((light - exact[0, 0]).abs().max()) < 0.01 * float(light.max() - light.min())


@pytest.mark.parametrize("colour", [0.0, 1.0])
def test_a_cut_to_black_or_white_stays_a_cut(colour):
    pan = texture(1, width=W + 3)
    scene = torch.cat([pan[..., i : i + W] for i in range(3)])
    clip = torch.cat((scene, torch.full((2, 3, H, W), colour)))
    for frames in (clip, clip.flip(0)):
        around = interpolate(frames, source_fps=1, target_fps=4)[5:12]
        light = around.mean((1, 2, 3))
        between = (light - scene.mean()).abs().minimum((light - colour).abs())
        assert float(between.max()) < 0.05  # each made frame is on one side or the other
