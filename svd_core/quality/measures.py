"""What a clip does, in numbers with a unit: frames are taken one by one, only neighbours are kept."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from dataclasses import replace

import torch
from torch import Tensor

from ..signatures import OnStep
from . import course, light
from .look import Look, look
from .motion import Step, between, unsteadiness
from .photo import Embed, distances, psnr
from .report import LEAST_EXPLAINED, Report
from .seam import Seam
from .sizes import matched, reduced


@torch.no_grad()
def measure(
    frames: Iterable[Tensor],
    *,
    fps: float,
    loop: bool = False,
    reference: Tensor | None = None,
    embed: Embed | None = None,
    on_step: OnStep | None = None,
) -> Report:
    """Everything that is measured, as numbers, lists and None only: frames c H W in [0, 1] -> report

    `frames` is a clip t c H W or anything that gives its frames in order; `reference` is c H' W',
    and a clip is compared with its own first frame without it. `embed` is an image encoder: n 3 H W in [0,
    1] -> n e. Speeds are in picture widths a second. `loop`: the first frame follows the last.
    """
    if not 0 < fps < float("inf"):
        raise ValueError(f"fps is {fps}; use the positive number of frames that play in a second")
    total = len(frames) if isinstance(frames, Sized) else 0
    meter = Meter(None if reference is None else coloured(reference), embed, middle=total // 2)
    for i, frame in enumerate(frames):
        meter.add(coloured(frame))
        if on_step:
            on_step(i, total)
    if not meter.looks:
        raise ValueError("the clip holds no frame; use one or more")
    return meter.report(float(fps), loop)


def coloured(frame: Tensor) -> Tensor:
    """c H W -> 3 H W float32 on the CPU; grey is repeated, alpha dropped"""
    if frame.ndim != 3 or 0 in frame.shape or not frame.is_floating_point():
        raise ValueError(
            f"a frame has shape {tuple(frame.shape)} and type {frame.dtype}; pass (channels, height, width) "
            "in 0..1"
        )
    x = frame.to("cpu", torch.float32)
    if not bool(x.isfinite().all()):
        raise ValueError("a frame holds NaN or infinite values; check what made it")
    return (x[:3] if len(x) >= 3 else x[:1].expand(3, -1, -1)).clamp(0, 1)


class Meter:
    """Takes frames 3 H W; keeps the last one reduced, the reference, and numbers."""

    def __init__(self, reference: Tensor | None, embed: Embed | None, *, middle: int):
        self.reference, self.embed, self.middle = reference, embed, middle
        self.looks: list[Look] = []
        self.steps: list[Step] = []
        self.jerks: list[float] = []
        self.psnr: list[float] = []
        self.seen: list[float] = []
        self.seam = Seam()
        self.before: Tensor | None = None
        self.flow: Tensor | None = None

    def add(self, frame: Tensor) -> None:
        first = not self.looks
        if first:
            self.size = frame.shape[-2:]
            self.mean = frame.mean((1, 2))
            self.photo = frame if self.reference is None else matched(self.reference, *self.size)
        elif frame.shape[-2:] != self.size:
            h, w = frame.shape[-2:]
            raise ValueError(
                f"frame {len(self.looks)} is {w}x{h}, the first {self.size[1]}x{self.size[0]}; use frames of "
                "one size"
            )
        small = reduced(frame)
        if self.before is not None:
            self.follow(between(self.before, small))
        self.looks.append(look(frame))
        self.psnr.append(psnr(frame, self.photo))
        self.seam.add(small)
        self.before, self.frame = small, frame
        if self.embed and (first or len(self.looks) == self.middle + 1):
            self.seen += distances(frame[None], self.photo, self.embed)

    def follow(self, step: Step) -> None:
        if step.flow is not None and self.flow is not None:
            self.jerks.append(unsteadiness(self.flow, step.flow))
        self.flow = step.flow
        self.steps.append(replace(step, flow=None))  # a flow is as large as a frame

    def report(self, fps: float, loop: bool) -> Report:
        n, (H, W) = len(self.looks), self.size
        whole: Report = {"frames": n, "width": W, "height": H, "fps": fps, "seconds": n / fps}
        whole |= self.moving(fps) | self.light() | self.drift() | self.detail() | self.stops()
        whole["loop"] = self.seam.measures() if loop else None
        whole["photo"] = self.likeness()
        whole["per_pair"] = self.pairs(fps)
        whole["per_frame"] = self.frames()
        return whole

    def moving(self, fps: float) -> Report:
        steps = [step for step in self.steps if not step.cut]
        known = [step.explained for step in steps if step.explained is not None]
        found = [step.followed for step in steps if step.followed is not None]
        speed = course.median([step.speed for step in steps]) * fps
        share = course.median(known) if known else None
        camera = {
            name: course.median([getattr(step.camera, name) for step in steps]) * fps
            for name in ("pan", "tilt", "zoom", "roll")
        }
        motion = {
            "speed": speed,
            "camera": course.median([step.camera_speed for step in steps]) * fps,
            "object": course.median([step.object_speed for step in steps]) * fps,
            "explained": share,
            "counts": share is not None and share >= LEAST_EXPLAINED,
            "jerk": course.median(self.jerks) * fps,
            "followed": course.median(found) if found else None,
        }
        return {"motion": motion, "camera": camera}

    def light(self) -> Report:
        scenes = light.along([step.light for step in self.steps], self.mean)
        rms, fast = light.flicker(scenes)
        return {"light": {"flicker": rms, "fast": fast, "jump": light.jump(scenes)}}

    def drift(self) -> Report:
        long = len(self.looks) - 1
        slopes = {
            name: course.slope([getattr(x, name) for x in self.looks]) * long
            for name in ("brightness", "contrast", "saturation")
        }
        red, blue = (course.slope([x.warmth[i] for x in self.looks]) * long for i in (0, 1))
        return {"drift": {**slopes, "colour": (red**2 + blue**2) ** 0.5}}

    def detail(self) -> Report:
        sharpness = self.sharpness()
        last = [x for x in sharpness[-max(1, len(sharpness) // 4) :] if x is not None]
        of_photo = look(self.photo).clipped
        return {
            "detail": {
                "sharpness": course.median(last) if last else None,
                "noise": course.median([x.noise for x in self.looks]),
                "clipped": course.median([x.clipped for x in self.looks]),
                "clipped_of_photo": of_photo,
            }
        }

    def sharpness(self) -> list[float | None]:
        first = self.looks[0].detail
        return [x.detail / first if first > 0 else None for x in self.looks]

    def stops(self) -> Report:
        flags = [step.still for step in self.steps]
        cuts = [i + 1 for i, step in enumerate(self.steps) if step.cut]
        return {"still": {"pairs": sum(flags), "longest": course.longest(flags)}, "cuts": cuts}

    def likeness(self) -> Report:
        found: Report = {
            "given": self.reference is not None,
            "psnr_first": self.psnr[0],
            "psnr_worst": min(self.psnr),
            "psnr_last": self.psnr[-1],
        }
        if self.embed:
            seen = self.seen
            if len(self.looks) > len(seen):
                seen = [*seen, *distances(self.frame[None], self.photo, self.embed)]
            found["encoder"] = seen
        return found

    def pairs(self, fps: float) -> Report:
        """A list of each measure over time, None at a cut"""
        names = {"speed": "speed", "camera": "camera_speed", "object": "object_speed"}
        lists: Report = {
            key: [None if s.cut else getattr(s, name) * fps for s in self.steps]
            for key, name in names.items()
        }
        for name in ("pan", "tilt", "zoom", "roll"):
            lists[name] = [None if s.cut else getattr(s.camera, name) * fps for s in self.steps]
        shares = ("explained", "followed")
        return lists | {name: [getattr(s, name) for s in self.steps] for name in shares}

    def frames(self) -> Report:
        level = torch.cat(light.along([step.light for step in self.steps], self.mean)).mean(1).tolist()
        names = ("brightness", "contrast", "saturation", "noise", "clipped")
        lists: Report = {name: [getattr(x, name) for x in self.looks] for name in names}
        return lists | {"light": level, "sharpness": self.sharpness(), "psnr": self.psnr}
