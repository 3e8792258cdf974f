"""Does a clip move, and does a loop close? In numbers, and in sentences that blame the clip."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from . import course
from .motion import between
from .report import LEAST_EXPLAINED, Report
from .seam import Seam
from .sizes import reduced

ENLARGED = 4  # times: latents lie at an eighth of the size, too small to follow motion well
PULSE = 0.3  # share of the change that motion explains, under which a clip rather pulses or breaks up
HARDLY = 0.005  # picture widths a second under which a clip is called a still
JUMP, STALL = 1.5, 0.5  # steps at a seam, over a usual one, beyond which it shows
BACK = 0.8  # of there and back, from which a loop is called so


def pictures(z: Tensor, colours: Tensor) -> Tensor:
    """Scaled latents t 4 h w -> small frames t 3 H W in [0, 1], by a linear map to colour, 4 3"""
    x = torch.einsum("tchw,cr->trhw", z.float().cpu(), colours.float().cpu())
    x = F.interpolate(x, scale_factor=ENLARGED, mode="bicubic", align_corners=False)
    return (x / 2 + 0.5).clamp(0, 1)


@torch.no_grad()
def judge(frames: Tensor, *, fps: float, loop: bool, every: int = 1) -> Report:
    """Speed in picture widths a second, and the seam of a loop or None: t 3 H W in [0, 1]

    `every` how many pairs of frames one is looked at.
    """
    pairs = list(zip(frames, frames[1:]))[::every]
    steps = [step for a, b in pairs if not (step := between(reduced(a), reduced(b))).cut]
    known = [step.explained for step in steps if step.explained is not None]
    explained = course.median(known) if known else None
    speed = course.median([step.speed for step in steps]) * fps
    counts = explained is not None and explained >= LEAST_EXPLAINED
    seam = closing(frames) if loop else None
    return {"motion": {"speed": speed, "explained": explained, "counts": counts}, "seam": seam}


def closing(frames: Iterable[Tensor]) -> dict[str, float | None]:
    """The seam of a loop, whose frames 3 H W in [0, 1] are taken one by one."""
    seam = Seam()
    for frame in frames:
        seam.add(reduced(frame))
    return seam.measures()


def lines(found: Report) -> list[str]:
    """A report's lines."""
    motion, seam = found["motion"], found["seam"]
    share = motion["explained"]
    told = [f"motion {motion['speed']:.4f} picture widths a second, {100 * (share or 0):.0f} % of the change"]
    if share is None:
        told = ["nothing moves"]
    elif not motion["counts"]:
        told = [f"no motion that can be followed: it explains {100 * share:.0f} % of the change"]
    if seam is not None and seam["position"] is not None:
        told.append(
            f"seam: jumps {seam['position']:.2f} times a usual step, changes speed "
            f"{seam['velocity'] or 0:.2f} times as much as usual; "
            f"there and back {seam['there_and_back'] or 0:.2f}"
        )
    return told


def faults(found: Report) -> list[str]:
    """What keeps a clip from being a moving one, or a loop from being one, with what to do."""
    motion, seam = found["motion"], found["seam"]
    what = "this clip" if seam is None else "this loop"
    if motion["speed"] < HARDLY:
        return [
            f"{what} is nearly a still, {motion['speed']:.4f} picture widths a second; raise "
            "motion_bucket_id, try other seeds, or go through a second picture"
        ]
    told = []
    if motion["explained"] is not None and motion["explained"] < PULSE:
        told.append(
            f"{what} pulses or breaks up more than it moves, motion is {100 * motion['explained']:.0f} % of "
            "the change; try other seeds, or choose another method"
        )
    if seam is None or seam["position"] is None:
        return told
    if seam["position"] > JUMP:
        told.append(
            f"{what} jumps at its seam, {seam['position']:.1f} times a usual step; try the method "
            "forward with motion_prior 1, another seed, or loop_repair 3"
        )
    if seam["position"] < STALL:
        told.append(
            f"{what} stalls at its seam, {seam['position']:.2f} of a usual step; try another seed, or raise "
            "motion_bucket_id"
        )
    if (seam["there_and_back"] or 0) > BACK:
        told.append(
            f"{what} goes back the way it came; try other seeds, or go through a second picture for a loop "
            "that does not turn round"
        )
    return told
