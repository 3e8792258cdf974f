"""Scene cuts: two frames whose changed parts neither a shift nor motion leads to each other, seen small."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .flow import Quality, bidirectional
from .warp import warp

THRESHOLD = 0.5  # likeness under which two frames are taken for two scenes
THUMBNAIL_SIDE = 32  # pixels, the longer one
SHIFT_OVERLAP = 0.45  # share of the picture that must be common to both frames of a pan
UNCHANGED = 1.5 / 255  # largest difference of a pixel that stands still
LEAST_CHANGED = 0.25  # share of the picture that must change for its change alone to be judged
CONTRAST_FLOOR = 0.01  # deviation of values below which a picture is flat
RELIT_DISCOUNT = 0.2  # likeness taken off where the light had to be matched first
SURE = 0.8  # likeness from which a shift is believed; below it two scenes may look alike by chance
FADE_STEP_RATIO = 0.25  # least size of a fade's step beside the one after or before it
FOLLOWED_SIDE = 128  # pixels of the longer side on which motion is followed
QUICK = Quality(finest=0, rounds=1, iterations=8, coarsest=8)
EVENED = 0.2  # deviation of values that frames are given before motion is followed
LIKE = 0.5  # difference beside it up to which what motion leads to is the same thing
FOUND_BY_CHANCE = 1 / 6  # of what changes; motion finds up to a sixth in another scene, a fifth in its own


def is_cut(a: Tensor, b: Tensor, *, threshold: float = THRESHOLD) -> bool:
    """1 c H W, 1 c H W"""
    return likeness(a, b) < threshold


def is_still(a: Tensor, b: Tensor) -> bool:
    """1 c H W, 1 c H W"""
    return bool((a - b).abs().max() <= UNCHANGED)


def is_end_of_fade(a: Tensor, b: Tensor, beyond: Tensor) -> bool:
    """Does the light that goes from `beyond` to a go on to a flat b,
    each 1 c H W?  A cut to black comes at once.
    """
    a, b, beyond = (thumbnail(x[:, :3].float()) for x in (a, b, beyond))
    where = changed(a, b)
    (mean_a, spread_a), (mean_b, spread_b), (mean, spread) = (moments(x, where) for x in (a, b, beyond))
    if float(spread_b.max()) > CONTRAST_FLOOR:
        return False
    step = torch.cat((mean_b - mean_a, spread_b - spread_a))
    before = torch.cat((mean_a - mean, spread_a - spread))
    goes_on = float((step * before).sum()) >= FADE_STEP_RATIO * float(step.square().sum())
    return goes_on and concordance(beyond, relit(a, beyond, where), where) >= THRESHOLD


def is_flat(a: Tensor, b: Tensor) -> bool:
    """Has one of two frames nothing to follow in what changes, but the other has?  1 c H W, 1 c H W"""
    a, b = (thumbnail(x[:, :3].float()) for x in (a, b))
    where = changed(a, b)
    flat = [float(moments(x, where)[1].max()) <= CONTRAST_FLOOR for x in (a, b)]
    return flat[0] != flat[1]


def thumbnail(x: Tensor, side: int = THUMBNAIL_SIDE) -> Tensor:
    """1 c H W -> 1 c h w with h, w <= side"""
    H, W = x.shape[-2:]
    scale = min(1.0, side / max(H, W))
    return F.adaptive_avg_pool2d(x, (max(1, round(H * scale)), max(1, round(W * scale))))


def likeness(a: Tensor, b: Tensor) -> float:
    """How far two frames show one scene, at most 1: 1 c H W, 1 c H W

    The best concordance over all shifts; a fade counts as alike too, at a discount. Below `SURE` two scenes
    may look alike by chance, and bodies that move each its own way unlike; there motion decides.
    """
    x, y = (thumbnail(v[:, :3].float()) for v in (a, b))
    where = changed(x, y)
    as_it_is, relighted = concordance(x, y, where), concordance(x, relit(y, x, where), where)
    if max(as_it_is, relighted) < SURE:
        return likeness_along_motion(a, b)
    return max(as_it_is, relighted - RELIT_DISCOUNT)


def likeness_in_any_light(a: Tensor, b: Tensor) -> float:
    """As `likeness`, whatever the brightness and contrast of either: 1 c H W, 1 c H W"""
    x, y = (thumbnail(v[:, :3].float()) for v in (a, b))
    where = changed(x, y)
    alike = concordance(x, relit(y, x, where), where)
    return alike if alike >= SURE else likeness_along_motion(a, b)


def likeness_along_motion(a: Tensor, b: Tensor) -> float:
    """0.5 where motion finds `FOUND_BY_CHANCE` of what changes, whatever the light: 1 c H W, 1 c H W"""
    frames = [thumbnail(x[:, :3].float(), FOLLOWED_SIDE) for x in (a, b)]
    where = changed(*frames)
    share = found(torch.cat([evened(x, where) for x in frames]), where)
    return share / (share + FOUND_BY_CHANCE)


def found(frames: Tensor, where: Tensor) -> float:
    """Share of the pixels in 1 1 h w that motion leads to their like in the other of two frames and back
    again, in the frame where there are fewer: 2 c h w
    """
    flow = bidirectional(*frames.split(1), quality=QUICK)
    way_back = (flow + warp(flow.flip(0), flow)).square().sum(1, keepdim=True)
    away = (warp(frames.flip(0), flow) - frames).abs().amax(1, keepdim=True)
    same = ((way_back < 1) & (away < LIKE * EVENED)) * where
    return float((same.sum((1, 2, 3)) / where.sum()).min())


def changed(a: Tensor, b: Tensor) -> Tensor:
    """1 where thumbnails differ: 1 c h w twice -> 1 1 h w; bars, logos and frames around the picture do not

    Where next to nothing changes the whole picture is judged, or a small thing that comes would be a cut.
    """
    where = ((a - b).abs().amax(1, keepdim=True) > UNCHANGED).to(a)
    return where if float(where.mean()) >= LEAST_CHANGED else torch.ones_like(where)


def moments(x: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel where `where` is 1: 1 c h w, 1 1 h w -> c, c"""
    n = where.sum()
    mean = (x * where).sum((0, 2, 3)) / n
    return mean, (((x - mean.view(-1, 1, 1)) ** 2 * where).sum((0, 2, 3)) / n).sqrt()


def relit(x: Tensor, like: Tensor, where: Tensor) -> Tensor:
    """x with another frame's mean and contrast in each channel: 1 c h w, 1 c h w, 1 1 h w -> 1 c h w"""
    (mean, spread), (mean_to, spread_to) = (moments(v, where) for v in (x, like))
    gain = (spread_to + CONTRAST_FLOOR) / (spread + CONTRAST_FLOOR)
    return (x - mean.view(-1, 1, 1)) * gain.view(-1, 1, 1) + mean_to.view(-1, 1, 1)


def evened(x: Tensor, where: Tensor) -> Tensor:
    """x in a light that is the same for all frames: 1 c h w, 1 1 h w -> 1 c h w"""
    mean, spread = moments(x, where)
    return 0.5 + (x - mean.view(-1, 1, 1)) * (EVENED / (spread + CONTRAST_FLOOR)).view(-1, 1, 1)


def concordance(a: Tensor, b: Tensor, where: Tensor) -> float:
    """Best over all shifts (Lin 1989: correlation that also pays for mean and gain): at most 1.

    Thumbnails 1 c h w, 1 c h w, of which the pixels in 1 1 h w count.
    Only shifts that keep `SHIFT_OVERLAP` of them in both are tried; flat equal frames are alike.
    Sums over all shifts at once, by Fourier transforms.
    """
    c, h, w = a.shape[1:]
    size = (2 * h, 2 * w)
    of_a, of_b = (
        torch.fft.rfft2(torch.cat((x, x.square().sum(1, keepdim=True), where), 1)[0] * where[0], s=size)
        for x in (a, b)
    )
    of_b = of_b.conj()

    def sums(products: Tensor) -> Tensor:
        return torch.fft.irfft2(products, s=size)

    n = sums(of_a[-1] * of_b[-1]).round()
    k = n.clamp(min=1)
    sum_a, sum_b = sums(of_a[:c] * of_b[-1]), sums(of_a[-1] * of_b[:c])
    covariance = sums((of_a[:c] * of_b[:c]).sum(0)) - (sum_a * sum_b).sum(0) / k
    variance_a = (sums(of_a[c] * of_b[-1]) - (sum_a**2).sum(0) / k).clamp(min=0)
    variance_b = (sums(of_a[-1] * of_b[c]) - (sum_b**2).sum(0) / k).clamp(min=0)
    noise = c * n * UNCHANGED**2
    mean = ((sum_a - sum_b) ** 2).sum(0) / k
    score = (2 * covariance + noise) / (variance_a + variance_b + mean + noise)
    return float(score[n >= SHIFT_OVERLAP * float(where.sum())].max())
