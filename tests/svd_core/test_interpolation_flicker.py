"""What deflicker takes for flicker, where it undoes it, and what it leaves alone."""

import math

import pytest
import torch
import torch.nn.functional as F

from svd_core.frames.deflicker import deflicker
from svd_core.frames.trend import trend, wave

T = 24


def still(seed=0, H=24, W=40):
    g = torch.Generator().manual_seed(seed)
    return (
        F.interpolate(torch.rand(1, 3, 6, 10, generator=g), size=(H, W), mode="bicubic").clamp(0, 1) * 0.7
        + 0.1
    )


def blinking(t, period=4.0, size=0.1):
    return 1 + size * torch.sin(2 * math.pi * torch.arange(t) / period).view(-1, 1, 1, 1)


def dip(t):
    return torch.where((t >= 8) & (t < 13), 0.7, 1.0)


def step(t):
    return torch.where(t < 12, 0.4, 1.0)


def fade_to_black(t):
    return ((23 - t) / 11).clamp(0, 1)


def eased(t):
    s = ((t - 4) / 12).clamp(0, 1)
    return 0.2 + 0.8 * s * s * (3 - 2 * s)


@pytest.mark.parametrize("course", [dip, step, fade_to_black, eased])
def test_light_that_really_changes_passes(course):
    clip = still() * course(torch.arange(float(T))).view(-1, 1, 1, 1)
    assert float((deflicker(clip) - clip).abs().max()) < 0.01


@pytest.mark.parametrize("n", [12, 25, 60, 200])
def test_trend_keeps_changes_and_drops_oscillation(n):
    t = torch.arange(float(n), dtype=torch.float64)
    once = (
        torch.where((t >= n // 3) & (t < n // 3 + 4), -0.3, 0.0),  # a dip
        torch.where(t < n // 2, -0.5, 0.0),  # a step
        -((t / n) ** 3),  # a fade that gathers speed
        0.05 * torch.sin(2 * math.pi * t / 60),  # slower than the window
    )
    for x in once:
        assert float((trend(x, 24) - x).abs().max()) < 0.005  # of a logarithm: half a percent
    for period in (2, 2.5, 4, 6)[: 3 if n == 12 else 4]:  # three cycles at least
        swing = 0.1 * torch.cos(2 * math.pi * t / period + 0.7)
        left = trend(swing, 24) - swing.mean()
        assert float(left.square().mean().sqrt()) < 0.1 * float(swing.square().mean().sqrt())  # 20 dB


COURSES = {
    "line": lambda s: 1 - 0.5 * s,
    "fade": lambda s: 1 - 0.8 * s,
    "decay": lambda s: torch.exp(-1.2 * s),
    "eased": lambda s: 0.2 + 0.8 * s * s * (3 - 2 * s),
}


@pytest.mark.parametrize("n", [17, 25, 49, 120])
@pytest.mark.parametrize("course", COURSES)
def test_flicker_on_light_that_changes_is_removed(course, n):
    """The logarithms that deflicker follows; a sinusoid of theirs is one of the light up to an overtone
    of -32 dB. 2.8 cycles on an eased course leave 17 dB.
    """
    t = torch.arange(float(n), dtype=torch.float64)
    light = COURSES[course](t / n)
    for period in (2.5, 4.0, 6.0):
        if period == 6 and n == 17 and course == "eased":
            continue
        for phase in (0.0, 1.0, 2.0):
            x = light * (1 + 0.1 * torch.sin(2 * math.pi * t / period + phase))
            left = trend(x.log(), 24).exp() - light
            removed = float((left - left.mean()).std() / (x - light - (x - light).mean()).std())
            assert removed < 0.1, (period, phase)  # 20 dB


def test_no_change_of_light_is_taken_for_a_wave():
    """Dips, steps, ramps, humps and flashes of every place and width in short clips"""
    found = [
        (n, at, width, kind)
        for n in (12, 13, 17, 26)
        for at in range(1, n - 1, 2)
        for width in (1, 2, 3, 5, 7)
        for kind, x in changes(torch.arange(float(n), dtype=torch.float64), at, width)
        if wave(x, 24) is not None
    ]
    assert not found


def changes(t, at, width):
    yield "dip", torch.where((t >= at) & (t < at + width), -0.5, 0.0).double()
    yield "step", torch.where(t < at, -0.5, 0.0).double()
    yield "ramp", (t - at).clamp(0, width) / width / 2
    yield "hump", torch.exp(-(((t - at) / width) ** 2)) / 2


def test_a_step_within_flicker_stays_a_step():
    t = torch.arange(48.0, dtype=torch.float64)
    swing, jump = 0.1 * torch.sin(2 * math.pi * t / 4), torch.where(t < 20, -0.5, 0.0)
    assert float((trend(swing + jump, 24) - jump).abs().max()) < 0.02


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_bars_and_subtitles_are_not_touched(level):
    frames = still(H=48, W=80).repeat(12, 1, 1, 1) * blinking(12)
    frames[..., :8, :] = frames[..., -8:, :] = level
    frames[..., 32:35, 20:60] = 1.0
    out = deflicker(frames)
    for rows, columns in (
        (slice(8), slice(None)),
        (slice(-8, None), slice(None)),
        (slice(32, 35), slice(20, 60)),
    ):
        assert torch.equal(out[..., rows, columns], frames[..., rows, columns])
    before, after = (x[..., 9:31, :].mean((1, 2, 3)) for x in (frames, out))
    assert float(after.std()) < 0.1 * float(before.std())  # 20 dB


def test_letterboxed_scenes_are_steadied_apart():
    clip = torch.cat((still(1).repeat(6, 1, 1, 1) * 0.5, still(2).repeat(6, 1, 1, 1)))
    clip[..., :4, :] = clip[..., -4:, :] = 0
    clip = clip * blinking(12, 2.0, 0.0)
    clip[1:6:2] *= 0.9
    out = deflicker(clip)
    assert torch.equal(out[6:], clip[6:])
    assert float(out[:6].mean((1, 2, 3)).std()) < 0.2 * float(clip[:6].mean((1, 2, 3)).std())


def test_values_outside_of_the_range_are_kept():
    clip = still().repeat(T, 1, 1, 1) * blinking(T)
    clip[..., 2:6, 3:9] += 0.8
    assert clip.max() > 1.2
    assert float(deflicker(clip).max()) > 1.2
