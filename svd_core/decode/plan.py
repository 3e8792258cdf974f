"""How a clip is decoded within a limit of memory."""

from __future__ import annotations

from dataclasses import dataclass

from ..models.configs import VAEConfig

GIB = 2**30
TIERS = tuple(int(g * GIB) for g in (0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128))
WORK = 7.5  # activations of one full-size frame beyond the clip and what is kept: live ones, room for kernels
SPATIAL = {2: 5, 4: 6}  # the live ones among them in per-frame layers, by the bytes of a number
TEMPORAL = 1  # and those of a slab of a temporal layer, beyond what is kept
LEVELS_BELOW = 0.5  # of the clip: the largest tensor of all levels but the last


@dataclass(frozen=True)
class Plan:
    """How a clip is decoded; nothing here changes pixels beyond rounding."""

    keep: float  # first temporal convolutions up to this share of the clip are kept; others are run twice
    offload: bool  # frames that wait leave the device
    peak: int  # estimated bytes on the device, with room for what kernels take
    activations: int = 0  # those of them that are tensors


def options(config: VAEConfig, t: int, h: int, w: int, *, itemsize: int, can_offload: bool) -> list[Plan]:
    """The plans for a clip of t frames of h x w latents, the quickest first."""
    scale = 2 ** (len(config.ch_mult) - 1)
    frame = config.ch * config.ch_mult[0] * scale * h * scale * w * itemsize
    found = []
    for keep in (1.0, LEVELS_BELOW, 0.0):
        live = max(t + SPATIAL[itemsize], (1 + keep) * t + TEMPORAL)
        found.append(Plan(keep, False, int(((1 + keep) * t + WORK) * frame), int(live * frame)))
    if can_offload:
        found.append(Plan(0.0, True, int(WORK * frame), int(WORK * frame)))
    return found


def plan(config: VAEConfig, t: int, h: int, w: int, *, itemsize: int, memory: int, can_offload: bool) -> Plan:
    """The quickest plan for a clip of t frames of h x w latents within `memory` bytes of device memory.

    The limit is rounded down to one of `TIERS`, so that nearby limits give the same bytes.
    Raises ValueError with the smallest possible limit when nothing fits.
    """
    found = options(config, t, h, w, itemsize=itemsize, can_offload=can_offload)
    tier = max((m for m in TIERS if m <= memory), default=0)
    for chosen in found:
        if chosen.peak <= tier:
            return chosen
    least = min((m for m in TIERS if m >= found[-1].peak), default=found[-1].peak)
    scale = 2 ** (len(config.ch_mult) - 1)
    raise ValueError(
        f"decoding {t} frames of {scale * w}x{scale * h} needs a limit of at least {least / GIB:g} GiB, and "
        f"{memory / GIB:.2f} GiB is allowed; raise the memory limit, or decode fewer or smaller frames"
    )
