"""Long videos: every chunk goes on from the last latent of the one before, in the memory of one window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import comfy.model_management
import comfy.sample
import torch
from torch import Tensor

from ...svd_core.checkpoint.presets import Preset
from ...svd_core.control import anchor, bridge, long
from ...svd_core.control.bridge import Bridge
from ...svd_core.control.seam_repair import Mended
from ...svd_core.control.two_frames import Ends
from ...svd_core.quality import drift as long_course
from ...svd_core.quality import loops
from ...svd_core.quality.drift import Row
from ...svd_core.quality.look import Look, look
from ...svd_core.sampling.samplers import SAMPLERS, initial
from .. import convert
from . import continued, encoders, seam, two_frames, wired
from . import guider as host_guider
from .continued import Eyes
from .course import Course
from .progress import apart, generator

CANDIDATE_DOMAIN = 0x5045_5253_5644_4343  # noise of further candidates
ENDS = ["open", "loop", "picture"]
EVERY = 4  # of how many pairs of frames one is looked at for the speed of a chunk


@dataclass(frozen=True)
class Recipe:
    """How the chunks of a video are made."""

    sigmas: Tensor
    sampler: str
    scales: Callable[[int], Tensor]  # guidance of the first chunk
    next_scales: Callable[[int], Tensor]  # of the others
    seed: int
    next_augmentation: float
    token: str  # last or photo
    candidates: int
    candidate_until: float
    strength: float  # of the colour anchor
    to: str  # what it holds to: chunk or start
    close: two_frames.Journey | None  # how the last chunk returns; None leaves the end open
    keep: bool  # what is finished when the user cancels


@dataclass
class Maker:
    """chunk(k, the video so far) -> t 4 h w, under the host; what each chunk did is kept in `rows`."""

    model: Any
    eyes: Eyes
    first: two_frames.Picture
    last: two_frames.Picture | None
    numbers: encoders.Numbers
    recipe: Recipe
    way: long.Plan
    noise: float  # deviation in the latent that next_augmentation makes
    mender: seam.Mender | None  # of a loop
    rows: list[Row] = field(default_factory=list)
    clip: Tensor | None = None
    start: Look | None = None  # of the first frame
    mended: Mended | None = None

    def __post_init__(self) -> None:
        wired.check(self.model)
        self.candidate, self.end = 0, None
        self.token: tuple[int, Tensor] = (0, self.first.positive[0][0])  # frames of the video, and 1 1 e
        steps = len(self.recipe.sigmas) - 1
        again = long.steps_of(self.recipe.sigmas, self.recipe.candidate_until, self.recipe.candidates)
        self.steps = [steps, *[again] * (self.way.chunks - 1)]
        if self.recipe.close:
            self.steps[-1] = self.recipe.close.steps

    @property
    def loops(self) -> bool:
        return self.recipe.close is not None and self.last is None

    def run(self, begin: Tensor | None) -> Tensor:
        """All frames; those of finished chunks where the user cancels and that was asked for."""
        begin, done = long.begun(begin, self.way.t)
        mending = self.mender.steps if self.mender else 0
        self.course = Course(self.model, max(1, sum(self.steps[done:]) + mending))
        if begin is not None:
            self.start = look(self.eyes.frame(begin[:1])[0] / 2 + 0.5)
        extend = partial(long.extend, hold=self._hold(), closed=self.recipe.close is not None)
        try:
            with self.course:
                self.clip = extend(self.chunk, self.way, begin=begin, on_chunk=self._finished)
                if self.loops:
                    self.clip = self.clip[:-1]
                    self._mend(mending)
        except comfy.model_management.InterruptProcessingException:
            if not self.recipe.keep or self.clip is None:
                raise
        assert self.clip is not None
        return self.clip

    def _hold(self) -> anchor.Hold:
        if self.recipe.to == "start":
            return anchor.ToStart(self.recipe.strength, self.eyes.frame, self.eyes.encode)
        return partial(anchor.to_chunk, strength=self.recipe.strength)

    def _mend(self, steps: int) -> None:
        if self.mender is not None and steps and self.clip is not None:
            self.mended = self.mender.mend(self.clip, self.course.part(steps, "seam"))
            self.clip = self.mended.z

    def _finished(self, k: int, clip: Tensor, drift: long.Drift) -> None:
        """What the chunk did, told from its last frame decoded, and from small pictures of its latents."""
        self.clip = clip
        if self.start is None:
            self.start = look(self.eyes.frame(clip[:1])[0] / 2 + 0.5)
        frame = self.eyes.frame(clip[-1:])
        self.token = len(clip), self.eyes.token(frame)
        seen, photo = (x.flatten().double() for x in (self.token[1], self.first.positive[0][0]))
        likeness = torch.cosine_similarity(seen, photo, dim=0)
        motion = seam.judge(self.model, clip[-self.way.t :], fps=self.numbers.fps, loop=False, every=EVERY)[
            "motion"
        ]
        speed = motion["speed"] if motion["counts"] or motion["explained"] is None else None
        told = (float(likeness), speed, self.candidate, self.end)
        self.rows.append(Row(k + 1, drift, look(frame[0] / 2 + 0.5), *told))

    def chunk(self, k: int, clip: Tensor | None) -> Tensor:
        """t 4 h w, unscaled, on the CPU"""
        seed, name = apart(self.recipe.seed, k), f"chunk {k + 1} of {self.way.chunks}"
        callback = self.course.part(self.steps[k], name)
        picture = self.first if clip is None else self._continued(clip, seed)
        if self.recipe.close and k == self.way.chunks - 1:
            end = self.last or self.first
            z = two_frames.clip_between(
                self.model, picture, end, self.recipe.close, seed=seed, callback=callback
            ).cpu()
            self.end = bridge.meeting(z, Ends(None, end.z))
            return torch.cat([z[:-1], end.z.cpu()])
        scales = self.recipe.scales if clip is None else self.recipe.next_scales
        guider = host_guider.make_guider(self.model, picture.positive, picture.negative, scales)
        empty = {"samples": torch.zeros(self.way.t, *self.first.z.shape[1:])}
        method = host_guider.sampler(self._sampler(empty, clip, seed))
        out = host_guider.sample(guider, empty, method, self.recipe.sigmas, seed, callback=callback)
        return out["samples"].cpu()

    def _sampler(self, empty: dict, clip: Tensor | None, seed: int):
        plain, recipe = SAMPLERS[self.recipe.sampler], self.recipe
        if clip is None or len(clip) < 2 or recipe.candidates < 2 or len(recipe.sigmas) < 3:
            return plain
        scale = self.model.model.process_latent_in
        step = scale(clip[-1:])[0] - scale(clip[-2:-1])[0]

        def run(denoise, x, sigmas, *, generator=None, on_step=None):
            others = [self._noise(empty, seed, i) for i in range(1, recipe.candidates)]
            starts = [x, *(initial(noise, sigmas[0]).to(x) for noise in others)]
            until = recipe.candidate_until
            search = long.search(plain, starts, until=until, step=step, on_choice=self._choose)
            return search(denoise, x, sigmas, generator=generator, on_step=on_step)

        return run

    def _choose(self, candidate: int) -> None:
        self.candidate = candidate

    def _noise(self, empty: dict, seed: int, i: int) -> Tensor:
        private = generator(apart(seed, i), CANDIDATE_DOMAIN)
        return comfy.sample.prepare_noise_inner(empty["samples"], private, None)

    def _continued(self, clip: Tensor, seed: int) -> two_frames.Picture:
        """The last latent as the picture to go on from; only its token is seen through the decoder."""
        z, token = clip[-1:], self.first.positive[0][0]
        if self.recipe.token == "last":
            known, token = self.token
            token = token if known == len(clip) else self.eyes.token(self.eyes.frame(z))
        numbers = replace(self.numbers, augmentation_level=self.recipe.next_augmentation)
        return continued.picture(z, token, numbers, self.noise, seed)

    def told(self, seconds: float) -> tuple[long_course.Course, float]:
        """The report, and the frames per second at which the video lasts as asked."""
        z, way = self.clip, self.way
        assert z is not None
        assert self.start is not None
        whole = way.frames - self.loops
        fps = whole / seconds if self.recipe.close else float(self.numbers.fps)
        said, faults, numbers = [], [], {}
        if len(z) < whole:
            said.append(f"cancelled: {len(z)} of {whole} frames are finished; wire them into begin to go on")
        elif self.loops:
            numbers["seam"] = loops.closing(x for row in z.split(1) for x in seam.pictures(self.model, row))
            found = {"motion": {"speed": 1.0, "explained": 1.0, "counts": True}, "seam": numbers["seam"]}
            said, faults = loops.lines(found)[1:], loops.faults(found)
        if self.mended:
            said.append(self.mended.sentence())
            numbers["repair"] = self.mended.numbers()
        if advice := long.one_clip(way, seconds, self.recipe.close is not None):
            said.append(advice)
        return long_course.Course(self.start, self.rows, len(z), fps, said, faults, numbers), fps


def closing(preset: Preset, close: str, method: str, t: int, sampling: dict) -> two_frames.Journey | None:
    """How the last chunk meets its picture, None for an open end; forward needs more of the prior."""
    if close == "open":
        return None
    how = Bridge(method=method, motion_prior=0.4 if method == "forward" else 0.2)
    sigmas = sampling["sigmas"]
    guidance = two_frames.step_guidance(preset, how, 1.0, (1.0, 3.0), len(sigmas) - 1)
    return two_frames.Journey(how, guidance, t, sigmas, sampling["seed"])


def check_close(close: str, *, wired: bool) -> None:
    if close not in ENDS:
        raise ValueError(f"close is {close}; use one of {', '.join(ENDS)}")
    if close == "picture" and not wired:
        raise ValueError(
            "close is picture, but no end_image is wired in; wire one in, or set close to open or loop"
        )


def maker(model, sight, images, look_like, numbers, recipe: Recipe, way: long.Plan, repair: float) -> Maker:
    """`sight`: image encoder and VAE; `images`: the photo, how the video closes, and the picture for that
    or None; `look_like`: width, height, fit.
    """
    (clip_vision, vae), (image, close, end_image) = sight, images
    check_close(close, wired=end_image is not None)
    photo = convert.pixels(image)
    if len(photo) > 1:
        raise ValueError(f"image holds {len(photo)} pictures; a long video begins with one: choose it")
    convert.check_finite(loop_repair=repair)
    frame = encoders.frame(photo, *look_like)
    pictures = [photo, convert.pixels(end_image)[:1]] if close == "picture" else [photo]
    told = [two_frames.describe(clip_vision, vae, x, frame, numbers, recipe.seed) for x in pictures]
    fitted = convert.fit(photo, frame.width, frame.height, frame.fit)
    last = told[1] if len(told) > 1 else None
    eyes = Eyes(clip_vision, vae)
    noise = continued.noise_of_augmentation(eyes.encode, fitted, recipe.next_augmentation)
    mender = None
    if recipe.close is not None and close == "loop" and repair > 0:
        again = replace(numbers, augmentation_level=recipe.next_augmentation)
        mender = seam.Mender(model, eyes, recipe.close, again, noise, repair)
    return Maker(model, eyes, told[0], last, numbers, recipe, way, noise, mender)
