"""One clip between two pictures: the choice of method, what it costs, and how well it met its ends."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..sampling.samplers import euler
from ..signatures import Denoise, OnStep
from . import two_frames
from .two_frames import Ends, Pass

METHODS = ("vibid", "trf", "forward")
PINS = ("both", "end", "none")
JUMP = 3  # last steps over a usual one, beyond which they show


@dataclass(frozen=True)
class Bridge:
    """How a clip between two pictures is made; see `two_frames` for what the numbers mean."""

    method: str = "vibid"  # METHODS
    motion_prior: float = 0.2  # share of the steps, vibid and forward
    repeats: int = 3  # vibid
    strength: float = 1.0
    climbs: int = 0  # times each, trf and forward
    climb_length: int = 0  # levels; 0 = a tenth of the steps
    climb_until: float = 0.8
    pin: str = "both"  # PINS
    pin_below: float = 0.0

    def __post_init__(self) -> None:
        for name in ("motion_prior", "strength", "climb_until", "pin_below"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)}; use a finite number")

    def stops(self, n: int) -> list[tuple[int, int]]:
        """The climbs of n steps; none for vibid, which lifts at every level."""
        if self.method == "vibid":
            return []
        length = self.climb_length or max(1, round(n / 10))
        return two_frames.climbs(n, until=self.climb_until, length=length, times=self.climbs)

    def pins(self, ends: Ends) -> Ends:
        """The ends that hold."""
        first = ends.first if self.pin == "both" else None
        return Ends(first, None if self.pin == "none" else ends.last, self.pin_below)

    def passes(self, n: int) -> int:
        """Calls of `forward` and `backward` together."""
        if self.method == "vibid":
            early = sum(i < self.motion_prior * n for i in range(n))
            return 2 * n + early * self.repeats
        steps = n + sum(i - j for i, j in self.stops(n))
        return steps * (2 if self.method == "trf" else 1)

    def run(
        self,
        forward: Pass,
        backward: Pass,
        x: Tensor,
        sigmas: Tensor,
        *,
        ends: Ends,
        t: int,
        generator: torch.Generator | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Noised latents (b t) c h w at sigmas[0] -> the clip; each pass sees its own picture and time."""
        n, pins = len(sigmas) - 1, self.pins(ends)
        prior = two_frames.prior_for(
            self.motion_prior, sigmas, repeats=self.repeats, strength=self.strength, target=ends.last
        )
        if self.method == "vibid":
            return two_frames.vibid(
                forward,
                backward,
                x,
                sigmas,
                ends=pins,
                t=t,
                prior=prior,
                generator=generator,
                on_step=on_step,
            )
        if self.method == "trf":
            fused = two_frames.fuse(_denoise(forward), _denoise(backward), t=t)
            denoise = two_frames.pinned(fused, pins, t=t)
            return two_frames.reinject(euler, self.stops(n))(
                denoise, x, sigmas, generator=generator, on_step=on_step
            )
        bounded = partial(two_frames.bounded, ends=pins, t=t, prior=prior)
        return two_frames.reinject(bounded, self.stops(n))(
            forward, x, sigmas, generator=generator, on_step=on_step
        )


def _denoise(run: Pass) -> Denoise:
    return lambda x, sigma: run(x, sigma)[0]


def meeting(z: Tensor, ends: Ends) -> dict[str, float | None]:
    """How a clip t c h w meets its pictures: relative error at both ends,
    and the last step over the median one.

    A late, hard-pinned end shows as an `end_jump` far above 1; a still has none.
    """
    steps = (z[1:] - z[:-1]).flatten(1).norm(dim=1)
    usual = float(steps.median()) if len(steps) else 0.0
    return {
        "first_error": _apart(z[0], ends.first),
        "last_error": _apart(z[-1], ends.last),
        "end_jump": float(steps[-1]) / usual if usual > 0 else None,
    }


def joined(clips: list[Tensor], *, loop: bool) -> Tensor:
    """Clips t c h w that share their pictures, as one; a loop drops its last frame, the first again."""
    z = torch.cat([clips[0], *(clip[1:] for clip in clips[1:])])
    return z[:-1] if loop else z


def met(clips: list[Tensor], pictures: list[Tensor], *, evaluations: int) -> list[dict]:
    """How each clip t c h w meets its pictures 1 c h w; `evaluations` of the network were made for each."""
    ends = zip(clips, pictures, pictures[1:])
    return [meeting(z, Ends(a, b)) | {"evaluations": evaluations} for z, a, b in ends]


def jumps(rows: list[dict]) -> list[str]:
    """The clips that only get to their last picture with a jump, with what to do."""
    late = [(k, row["end_jump"]) for k, row in enumerate(rows, start=1) if (row["end_jump"] or 0) > JUMP]
    return [
        f"clip {k} jumps to its last picture, {jump:.1f} times a usual step; raise motion_bucket_id or "
        "motion_prior, or put a picture between the two"
        for k, jump in late
    ]


def report(frames: int, rows: list[dict], seen: list[str], faults: list[str], numbers: dict) -> str:
    """Text with JSON in its last line: the meetings, `seen` of the whole clip, and what is wrong with it."""
    loop = numbers["loop"]
    lines = [f"{frames} frames{', a loop' if loop else ''}"]
    lines += [f"clip {k + 1}: {sentence(row)}" for k, row in enumerate(rows)]
    told = {"frames": frames, **numbers, "clips": rows, "warnings": faults}
    return "\n".join([*lines, *seen, *faults, json.dumps(told)])


def sentence(row: dict) -> str:
    jump = (
        "nothing moves" if row["end_jump"] is None else f"last step {row['end_jump']:.2f} times a usual one"
    )
    told = (
        f"first frame {100 * (row['first_error'] or 0):.2f} % off its picture, last "
        f"{100 * (row['last_error'] or 0):.2f} %; {jump}"
    )
    return f"{told}; {row['evaluations']} evaluations" if "evaluations" in row else told


def _apart(a: Tensor, b: Tensor | None) -> float | None:
    return None if b is None else float((a - b[0].to(a)).norm() / b.norm().clamp_min(1e-12))
