"""What made frames keep: the light of fast bodies, and what stands still."""

import pytest
import torch
import torch.nn.functional as F

from svd_core.frames.between import by_flow, crossfade
from svd_core.frames.flow import QUALITIES
from svd_core.frames.keep import keep_light, moving, stillness, unmatched
from svd_core.frames.video import interpolate

H, W = 72, 128


def texture(width=W, seed=0):
    g = torch.Generator().manual_seed(seed)
    return F.interpolate(
        torch.rand(1, 3, 12, width // 6, generator=g), size=(H, width), mode="bicubic"
    ).clamp(0, 1)


def flying(back, body, radius=6, step=24):
    """Three frames of a disc that flies over a still picture"""
    y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    masks = [(radius - torch.hypot(x - 30 - step * i, y - 36.0) + 0.5).clamp(0, 1) for i in range(3)]
    return torch.cat([torch.lerp(back, torch.tensor(body), mask) for mask in masks])


@pytest.mark.parametrize("quality", list(QUALITIES))
@pytest.mark.parametrize(
    ("back", "body"), [(torch.zeros(1, 3, H, W), 1.0), (0.5 * texture(), 1.0), (torch.ones(1, 3, H, W), 0.0)]
)
def test_a_fast_body_keeps_its_light(quality, back, body):
    clip = flying(back, body)
    made, faded = (
        (interpolate(clip, source_fps=1, target_fps=3, between=between) - back).sum((1, 2, 3)).abs()
        for between in (by_flow(quality), crossfade)
    )
    assert float((made / faded).min()) > 0.98  # the cross-fade keeps all of it
    assert float((made / faded).max()) < 1.05


@pytest.mark.parametrize("quality", list(QUALITIES))
def test_subtitles_and_logos_stand_still(quality):
    wide = 0.8 * texture(W + 24)
    clip = torch.cat([wide[..., 12 * i : 12 * i + W] for i in range(3)])
    strokes = torch.zeros(H, W)
    strokes[56:66, 20:108:6] = strokes[56:66, 21:109:6] = strokes[60:62, 20:108] = strokes[4:14, 100:120] = 1
    strokes[10:20, 20:80:5] = 1  # a pixel wide
    clip = torch.lerp(clip, torch.tensor(1.0), strokes)
    made = interpolate(clip, source_fps=1, target_fps=2, between=by_flow(quality))[1::2]
    assert float(made[..., strokes.bool()].min()) > 0.9


def test_equal_values_by_chance_do_not_stand_still():
    wide = texture(W + 8)
    a, b = wide[..., :W], wide[..., 8:]
    assert float(stillness(a, b).mean()) < 0.02
    assert float(stillness(a, a).max()) == 1
    assert float(stillness(0 * a, 0 * a).max()) == 0  # an even ground, on which anything may pass


def test_light_of_what_is_found_is_left_alone():
    wide = texture(W + 8, seed=3)
    a, middle, b = (wide[..., i : i + W] for i in (0, 4, 8))
    found = unmatched((a - a).expand(2, -1, -1, -1))
    assert torch.equal(keep_light(middle, (a + b) / 2, found), middle)


def test_texture_that_moves_is_not_held_by_a_chance_match():
    difference, flow = torch.zeros(2, 3, H, W), torch.zeros(2, 2, H, W)
    flow[:, 0, :, : W // 2] = 4.0
    difference[..., : H // 2, :] = 0.3
    found_elsewhere = moving(difference, flow)[0, 0]
    assert float(found_elsewhere[H // 2 :, : W // 2].min()) == 1
    assert float(found_elsewhere[: H // 2].max()) == 0  # a stroke that the flow of its ground passes by
    assert float(found_elsewhere[:, W // 2 :].max()) == 0  # a panel that stands still


def test_ground_beside_a_body_does_not_hold_where_the_body_will_be():
    a, middle, b = flying(torch.zeros(1, 3, H, W), 1.0, step=15).split(1)
    assert float((stillness(a, b) * middle).max()) < 0.05
