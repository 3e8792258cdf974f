"""The seam of a loop under the host: looked at in small pictures of its latents, and sampled anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...svd_core.control import bridge, seam_repair
from ...svd_core.control.seam_repair import Mended
from ...svd_core.quality import loops
from ...svd_core.quality.report import Report
from .. import convert
from . import continued, encoders, two_frames, wired
from . import guider as host_guider
from .course import Course
from .progress import apart

REPAIR = 0x7265  # which run under one seed


@dataclass(frozen=True)
class Mender:
    """What a seam is sampled anew with: `journey` is how clips between two pictures are made."""

    model: object
    eyes: continued.Eyes
    journey: two_frames.Journey
    numbers: encoders.Numbers
    noise: float  # on the latents that it goes on from
    sigma: float  # noise level at which the frames around the seam start; 0 leaves them

    @property
    def plan(self) -> two_frames.Journey:
        """The same method with both ends held, from `sigma` down; nothing pulls the clip to its end."""
        how = replace(self.journey.how, motion_prior=0.0, climbs=0, pin="both", pin_below=0.0)
        return replace(self.journey, how=how, sigmas=seam_repair.levels(self.journey.sigmas, self.sigma))

    @property
    def steps(self) -> int:
        return self.plan.steps if self.sigma > 0 else 0

    def mend(self, z: Tensor, callback: Callable) -> Mended:
        """A loop n 4 h w, unscaled"""
        plan, seed = self.plan, apart(self.journey.seed, REPAIR)

        def remake(window: Tensor) -> Tensor:
            first, last = (self._picture(z, seed) for z in (window[:1], window[-1:]))
            guider = two_frames.make_guider(self.model, first, last, plan.guidance.scales)
            method = two_frames.sampler(plan.how, first.z, last.z, plus=plan.guidance.plus)
            latent = {"samples": window}
            made = host_guider.sample(guider, latent, method, plan.sigmas, seed, callback=callback)
            return made["samples"].cpu()

        return seam_repair.mend(z.cpu(), t=self.journey.t, remake=remake)

    def _picture(self, z: Tensor, seed: int) -> two_frames.Picture:
        return continued.picture(z, self.eyes.token(self.eyes.frame(z)), self.numbers, self.noise, seed)


def pictures(model, z: Tensor) -> Tensor:
    """Unscaled latents t 4 h w -> small frames t 3 H W in [0, 1]"""
    scaled = model.model.process_latent_in(z)
    return loops.pictures(scaled, torch.tensor(model.model.latent_format.latent_rgb_factors))


def judge(model, z: Tensor, *, fps: float, loop: bool, every: int = 1) -> Report:
    return loops.judge(pictures(model, z), fps=fps, loop=loop, every=every)


def mender(model, clip_vision, vae, repair: tuple, journey, numbers) -> Mender:
    """`repair`: the photo 1 3 H W in [-1, 1], the frame it fills, and sigma."""
    photo, frame, sigma = repair
    convert.check_finite(loop_repair=sigma)
    eyes, noise = continued.Eyes(clip_vision, vae), 0.0
    if sigma > 0:
        fitted = convert.fit(photo, frame.width, frame.height, frame.fit)
        noise = continued.noise_of_augmentation(eyes.encode, fitted, numbers.augmentation_level)
    return Mender(model, eyes, journey, numbers, noise, sigma)


def whole(model, pictures: list, journey, mender: Mender, *, loop: bool) -> tuple[Tensor, str, list[str]]:
    """The clip through pictures, a report of it, and what is wrong with it, in sentences."""
    wired.check(model)
    with Course(model, journey.steps * (len(pictures) - 1) + mender.steps) as course:
        clips = two_frames.chain(model, pictures, journey, course)
        z, mended = bridge.joined(clips, loop=loop), None
        if mender.steps:
            mended = mender.mend(z, course.part(mender.steps, "seam"))
            z = mended.z.to(z)
    rows = bridge.met(clips, [picture.z for picture in pictures], evaluations=journey.evaluations)
    found = judge(model, z, fps=mender.numbers.fps, loop=loop)
    inner = rows[:-1] if loop else rows  # a loop's last step belongs to its seam
    seen, faults = loops.lines(found), [*loops.faults(found), *bridge.jumps(inner)]
    numbers = {"loop": loop, **found}
    if mended:
        seen.append(mended.sentence())
        numbers["repair"] = mended.numbers()
    return z, bridge.report(len(z), rows, seen, faults, numbers), faults
