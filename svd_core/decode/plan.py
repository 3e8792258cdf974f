"""How a clip is decoded within a limit of memory."""

from __future__ import annotations

from dataclasses import dataclass

from ..models.configs import VAEConfig

GIB = 2**30
TIERS = tuple(int(g * GIB) for g in (0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128))
WORK = 7.5  # activations of one full-size frame beyond the clip: 5 live tensors, the rest is room for kernels


@dataclass(frozen=True)
class Plan:
    """How a clip is decoded; nothing here changes pixels beyond rounding."""

    keep: bool  # keep the first temporal convolution of the largest level for the clip, or compute it twice
    offload: bool  # frames that wait leave the device
    peak: int  # estimated bytes on the device


def plan(config: VAEConfig, t: int, h: int, w: int, *, itemsize: int, memory: int, can_offload: bool) -> Plan:
    """The quickest plan for a clip of t frames of h x w latents within `memory` bytes of device memory.

    The limit is rounded down to one of `TIERS`, so that nearby limits give the same bytes.
    Raises ValueError with the smallest possible limit when nothing fits.
    """
    scale = 2 ** (len(config.ch_mult) - 1)
    H, W = scale * h, scale * w
    frame = config.ch * config.ch_mult[0] * H * W * itemsize
    work = int(WORK * frame)
    options = [Plan(True, False, 2 * t * frame + work), Plan(False, False, t * frame + work)]
    if can_offload:
        options.append(Plan(False, True, work))
    tier = max((m for m in TIERS if m <= memory), default=0)
    for option in options:
        if option.peak <= tier:
            return option
    least = min((m for m in TIERS if m >= options[-1].peak), default=options[-1].peak)
    raise ValueError(
        f"decoding {t} frames of {W}x{H} needs a limit of at least {least / GIB:g} GiB, and "
        f"{memory / GIB:.2f} GiB is allowed; raise the memory limit, or decode fewer or smaller frames"
    )
