"""What a made frame keeps of the two that it is made of: their light, and what stands still in both."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .filters import gaussian, resize, smooth

STILL, MOVING = 0.01, 0.02  # largest difference of a pixel that stands still, least of one that moves
KEPT, LOST = 0.08, 0.2  # departure from the cross-fade of a still pixel: left as it is, undone
SURROUNDINGS = gaussian(4.0)  # pixels
LEVEL, STANDS_OUT = 0.03, 0.1  # difference from the surroundings of an even ground, of a stroke
FAR_OUT = 0.3  # the same of a stroke that no edge is taken for
FOUND, NOT_FOUND = 0.2, 0.4  # largest difference from what the flow leads to: the same thing, another
MATCHED, UNLIKE = 0.05, 0.1  # the same of a pixel that moves: as well found as one may be, not found
SLOW, FAST = (
    0.5,
    1.5,
)  # motion in pixels between two frames: at most that of what stands still, certain motion
LIGHT_CELLS = 32  # along the longer side, in which light is added up
AROUND_CELL = gaussian(2.0)  # cells over which it is added up: a body may have moved as far
LEAST_SHARE = 0.01  # of its light that a lone body may lose
LEAST_LIGHT = 1e-4  # mean departure from the cross-fade below which nothing is lost
DEPARTED = 0.02  # difference from the cross-fade from which a pixel has departed from it


def stillness(
    a: Tensor, b: Tensor, around: Sequence[Tensor | None] = (None, None), elsewhere: Tensor | float = 0.0
) -> Tensor:
    """Where both frames show the same: 1 c H W, 1 c H W -> 1 1 H W in [0, 1]

    Single pixels of moving texture are equal by chance. Believed are patches of 2 x 2 pixels,
    such as the strokes of subtitles, and pixels that stand still in the frame before or after as well,
    if they stand out in both; on an even ground something may pass between two frames.
    What is found `elsewhere` (`moving`) may be an edge that slides along itself: of that is believed only
    what stands out far.
    """
    still = sameness(a, b)
    patches = -F.max_pool2d(-F.pad(still, (1, 1, 1, 1)), 2, 1)
    y = torch.cat((a, b)).mean(1, keepdim=True)
    out = (y - smooth(y, SURROUNDINGS)).abs().amin(0, keepdim=True)
    slides = elsewhere * ((FAR_OUT - out) / (FAR_OUT - STANDS_OUT)).clamp(0, 1)
    believed = F.max_pool2d(patches, 2, 1) * (1 - elsewhere)
    for one, neighbour in zip((a, b), around):
        if neighbour is not None:
            for_three = torch.minimum(still, sameness(one, neighbour)) * (1 - slides)
            believed = torch.maximum(believed, for_three)
    return believed * ((out - LEVEL) / (STANDS_OUT - LEVEL)).clamp(0, 1)


def sameness(a: Tensor, b: Tensor) -> Tensor:
    """1 c H W, 1 c H W -> 1 1 H W in [0, 1]"""
    difference = (a - b).abs().amax(1, keepdim=True)
    return ((MOVING - difference) / (MOVING - STILL)).clamp(0, 1)


def moving(difference: Tensor, flow: Tensor) -> Tensor:
    """What both frames find elsewhere: differences along the flow 2 c H W, 2 2 H W -> 1 1 H W in [0, 1]

    Of moving texture some patch is always the same by chance; unlike a stroke before it, it is found
    where the texture has gone to.
    """
    found = (UNLIKE - difference.amax(1, keepdim=True)) / (UNLIKE - MATCHED)
    away = (flow.square().sum(1, keepdim=True).sqrt() - SLOW) / (FAST - SLOW)
    return (found.clamp(0, 1) * away.clamp(0, 1)).amin(0, keepdim=True)


def keep_still(made: Tensor, fade: Tensor, still: Tensor) -> Tensor:
    """The cross-fade where a still pixel was lost: 1 c H W, 1 c H W, 1 1 H W -> 1 c H W"""
    away = (made - fade).abs().amax(1, keepdim=True)
    return torch.lerp(made, fade, still * ((away - KEPT) / (LOST - KEPT)).clamp(0, 1))


def unmatched(difference: Tensor) -> Tensor:
    """Where a frame shows what the other lacks: differences along the flow 2 c H W -> 1 1 H W in [0, 1]"""
    away = difference.amax((0, 1), keepdim=True)
    return ((away - FOUND) / (NOT_FOUND - FOUND)).clamp(0, 1)


def keep_light(made: Tensor, fade: Tensor, lost: Tensor) -> Tensor:
    """As bright around each place as the cross-fade, which loses nothing: 1 c H W twice, 1 1 H W -> 1 c H W

    A body whose motion was not found falls between the places where it was and will be.
    What is missing is taken from where the cross-fade is brighter, what is too much where it is darker,
    as far as a pixel is `unmatched`. The more of a place departs from the cross-fade,
    the more light may be missing by chance, as in moving texture.
    """
    away = fade - made
    brighter, darker = away.clamp(min=0), away.clamp(max=0)
    more, less = light_around(brighter), light_around(darker)
    missing = more + less
    share = missing.abs() / (torch.maximum(more, -less) + LEAST_LIGHT)
    departed = light_around((away.abs().amax(1, keepdim=True) > DEPARTED).to(away))
    beyond_chance = (share / (departed + LEAST_SHARE) - 1).clamp(0, 1)
    brighter, darker = brighter * lost, darker * lost
    take, give = (
        (sign * missing / (sign * light_around(x) + LEAST_LIGHT)).clamp(0, 1) * beyond_chance
        for sign, x in ((1, brighter), (-1, darker))
    )
    size = made.shape[-2:]
    return torch.addcmul(torch.addcmul(made, resize(take, size), brighter), resize(give, size), darker)


def light_around(x: Tensor) -> Tensor:
    """Means over cells and those around them: 1 c H W -> 1 c h w with h, w about `LIGHT_CELLS` and less"""
    cell = max(1, round(max(x.shape[-2:]) / LIGHT_CELLS))
    return smooth(F.avg_pool2d(x, cell, ceil_mode=True), AROUND_CELL)
