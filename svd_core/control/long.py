"""Videos longer than a model's window: chunks that share one frame, held to the colours they began with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..signatures import Denoise, OnStep, Sampler
from .anchor import Hold, trend
from .two_frames import shifted

LOWEST_RATE = 5  # frames a second under which models were not trained


@dataclass(frozen=True)
class Plan:
    """How many frames are made in how many chunks of t, of which each shares a frame with the next."""

    frames: int
    chunks: int
    t: int


def plan(seconds: float, fps: float, t: int, *, closed: bool) -> Plan:
    """Chunks for a length in seconds; a closed end cannot be cut off, so its chunks are kept whole."""
    if not (math.isfinite(seconds) and math.isfinite(fps) and seconds > 0 and fps > 0):
        raise ValueError(f"{seconds:g} seconds at {fps:g} fps is not a length; use numbers above 0")
    if t < 3:
        raise ValueError(f"a window of {t} frames leaves nothing to continue with; use at least 3")
    frames = max(2, round(seconds * fps))
    chunks = 1 + math.ceil(max(0, frames - t) / (t - 1))
    return Plan(chunks * (t - 1) + 1 if closed else frames, chunks, t)


def one_clip(way: Plan, seconds: float, closed: bool) -> str | None:
    """What to do instead where one clip lasts as long at a rate that was trained, None where it does not."""
    rate = math.floor(way.t / seconds)
    if way.chunks < 2 or closed or rate < LOWEST_RATE:
        return None
    return (
        f"{seconds:g} s fit into one clip of {way.t} frames: set fps to {rate} and use Interpolate Video; "
        "one clip has no joins and cannot drift"
    )


@dataclass(frozen=True)
class Drift:
    """What a chunk did to the colours: per channel, over the chunk, and what of it was taken back."""

    gain: list[float]
    offset: list[float]
    clamped: bool
    motion: float  # mean step from frame to frame
    sharpness: float  # deviation of the Laplacian of its last frame
    position: float | None  # the join's step over the median one
    bend: float | None  # the same of the change of step


def extend(
    chunk: Callable[[int, Tensor | None], Tensor],
    way: Plan,
    *,
    hold: Hold | None = None,
    closed: bool = False,
    begin: Tensor | None = None,
    on_chunk: Callable[[int, Tensor, Drift], None] | None = None,
) -> Tensor:
    """The whole video, frames c h w, from chunk(k, the video so far or None) -> t c h w, unscaled latents.

    Chunk k is asked for with what came before it alone, so a longer video begins with the shorter one.
    `begin` is such a beginning: whole chunks of it are taken as they are.
    `hold` takes its drift out of a chunk, see `anchor`; a closing chunk keeps its own colours.
    """
    clip, start = begun(begin, way.t)
    for k in range(start, way.chunks):
        z = chunk(k, clip)
        if clip is not None:
            z = torch.cat([clip[-1:], z[1:]])
        first = z if clip is None else clip
        last = closed and k == way.chunks - 1
        log_gain, offset = trend(z)
        z, clamped = (z, False) if last or hold is None else hold(z, first[0])
        drift = Drift(
            log_gain.exp().tolist(), offset.tolist(), clamped, motion(z), sharpness(z[-1]), *join(clip, z)
        )
        clip = z if clip is None else torch.cat([clip, z[1:]])
        if on_chunk is not None:
            on_chunk(k, clip, drift)
    assert clip is not None
    return clip[: way.frames]


def begun(begin: Tensor | None, t: int) -> tuple[Tensor | None, int]:
    """The whole chunks of a beginning, and their number."""
    whole = 0 if begin is None else (len(begin) - 1) // (t - 1)
    return (None, 0) if begin is None or whole < 1 else (begin[: whole * (t - 1) + 1], whole)


def motion(z: Tensor) -> float:
    return float((z[1:] - z[:-1]).abs().mean())


def sharpness(z: Tensor) -> float:
    """Deviation of the Laplacian: c h w"""
    inner = z[:, 1:-1, 1:-1]
    laplacian = z[:, :-2, 1:-1] + z[:, 2:, 1:-1] + z[:, 1:-1, :-2] + z[:, 1:-1, 2:] - 4 * inner
    return float(laplacian.std(correction=0))


def join(clip: Tensor | None, z: Tensor) -> tuple[float | None, float | None]:
    """Step and change of step where z goes on from the clip, over their medians inside z."""
    if clip is None or len(clip) < 2 or len(z) < 4:
        return None, None
    steps = torch.cat([clip[-1:] - clip[-2:-1], z[1:] - z[:-1]])
    sizes, bends = steps.flatten(1).norm(dim=1), (steps[1:] - steps[:-1]).flatten(1).norm(dim=1)
    position, bend = sizes[1] / sizes[2:].median(), bends[0] / bends[1:].median()
    return (float(position), float(bend)) if bool(position.isfinite() and bend.isfinite()) else (None, None)


def search(
    sampler: Sampler,
    starts: list[Tensor],
    *,
    until: float,
    step: Tensor,
    on_choice: Callable[[int], None] | None = None,
) -> Sampler:
    """A sampler that takes each start (b t) c h w down to level `until` and goes on with the best.

    Best is whose first predicted step is nearest to `step` c h w, the one the video arrived with;
    scaled latents. `on_choice` hears its number.
    """

    def run(
        denoise: Denoise,
        x: Tensor,
        sigmas: Tensor,
        *,
        generator: torch.Generator | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        stop, n = stop_of(sigmas, until), steps_of(sigmas, until, len(starts))
        seen: dict[str, Tensor] = {}

        def watched(x: Tensor, sigma: Tensor) -> Tensor:
            seen["D"] = denoise(x, sigma)
            return seen["D"]

        best = None
        for i, start in enumerate(starts):
            report = shifted(on_step, i * stop, n)
            y = sampler(watched, start, sigmas[: stop + 1], generator=generator, on_step=report)
            error = float((seen["D"][1] - seen["D"][0] - step.to(y)).square().sum())
            if best is None or error < best[0]:
                best = (error, y, i)
        assert best is not None
        if on_choice is not None:
            on_choice(best[2])
        report = shifted(on_step, len(starts) * stop, n)
        return sampler(denoise, best[1], sigmas[stop:], generator=generator, on_step=report)

    return run


def stop_of(sigmas: Tensor, until: float) -> int:
    """Steps down to the first level not above `until`; at least one, and one is left."""
    return max(1, min(int((sigmas > until).sum()), len(sigmas) - 2))


def steps_of(sigmas: Tensor, until: float, candidates: int) -> int:
    n = len(sigmas) - 1
    return n if candidates < 2 or n < 2 else n + (candidates - 1) * stop_of(sigmas, until)
