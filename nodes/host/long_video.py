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
from ...svd_core.conditioning.encode import augment
from ...svd_core.control import long
from ...svd_core.control.bridge import Bridge
from ...svd_core.models.image_encoder import preprocess
from ...svd_core.sampling.samplers import SAMPLERS, initial
from .. import convert
from . import encoders, two_frames
from . import guider as host_guider
from .course import Course
from .progress import apart, generator
from .vae import exact

CANDIDATE_DOMAIN = 0x5045_5253_5644_4343  # noise of further candidates
CONTINUED_DOMAIN = 0x5045_5253_5644_434E  # noise on the frame that a chunk goes on from


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
    close: two_frames.Journey | None  # how the last chunk returns; None leaves the end open
    keep: bool  # what is finished when the user cancels


@dataclass
class Maker:
    """chunk(k, the video so far) -> t 4 h w, under the host."""

    model: Any
    clip_vision: Any
    vae: Any
    photo: Tensor  # 1 3 H W in [-1, 1], fitted
    first: two_frames.Picture
    last: two_frames.Picture | None
    numbers: encoders.Numbers
    recipe: Recipe
    way: long.Plan
    noise: float = 0.0  # deviation in the latent that next_augmentation makes
    drifts: list[long.Drift] = field(default_factory=list)
    clip: Tensor | None = None

    def __post_init__(self) -> None:
        host_guider.check_video_model(self.model)
        self.noise = self._noise_of_augmentation()
        steps = len(self.recipe.sigmas) - 1
        again = long.steps_of(self.recipe.sigmas, self.recipe.candidate_until, self.recipe.candidates)
        self.steps = [steps, *[again] * (self.way.chunks - 1)]
        if self.recipe.close:
            self.steps[-1] = self.recipe.close.steps

    def _noise_of_augmentation(self) -> float:
        """As measured on the photo; the U-Net is handed a latent, so the noise is added there."""
        encode, level = encoders.vae_encoder(self.vae), self.recipe.next_augmentation
        if level == 0:
            return 0.0
        noisy = augment(self.photo, level, generator(0, CONTINUED_DOMAIN))
        return float((encode(noisy) - encode(self.photo)).std())

    def run(self, begin: Tensor | None) -> Tensor:
        """All frames; those of finished chunks where the user cancels and that was asked for."""
        done = long.begun(begin, self.way.t)[1]
        self.course = Course(self.model, max(1, sum(self.steps[done:])))
        extend = partial(long.extend, strength=self.recipe.strength, closed=self.recipe.close is not None)
        try:
            return extend(self.chunk, self.way, begin=begin, on_chunk=self._finished)
        except comfy.model_management.InterruptProcessingException:
            if self.recipe.keep and self.clip is not None:
                return self.clip
            raise

    def _finished(self, k: int, clip: Tensor, drift: long.Drift) -> None:
        self.clip = clip
        self.drifts.append(drift)

    def chunk(self, k: int, clip: Tensor | None) -> Tensor:
        """t 4 h w, unscaled, on the CPU"""
        seed, name = apart(self.recipe.seed, k), f"chunk {k + 1} of {self.way.chunks}"
        callback = self.course.part(self.steps[k], name)
        picture = self.first if clip is None else self._continued(clip[-1:], seed)
        if self.recipe.close and k == self.way.chunks - 1:
            end = self.last or self.first
            z = two_frames.clip_between(
                self.model, picture, end, self.recipe.close, seed=seed, callback=callback
            )
            return torch.cat([z[:-1].cpu(), end.z.cpu()])
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
            search = long.search(plain, starts, until=recipe.candidate_until, step=step)
            return search(denoise, x, sigmas, generator=generator, on_step=on_step)

        return run

    def _noise(self, empty: dict, seed: int, i: int) -> Tensor:
        private = generator(apart(seed, i), CANDIDATE_DOMAIN)
        return comfy.sample.prepare_noise_inner(empty["samples"], private, None)

    def _continued(self, z: Tensor, seed: int) -> two_frames.Picture:
        """The last latent as the picture to go on from; only its token is seen through the decoder."""
        context = self.first.positive[0][0]
        if self.recipe.token == "last":
            x = convert.pixels(exact(self.vae).decode_exact(z))
            embed = encoders.image_encoder(self.clip_vision)
            context = embed(preprocess(x.float(), self.clip_vision.image_size)).unsqueeze(1)
        drawn = torch.randn(z.shape, generator=generator(seed, CONTINUED_DOMAIN))
        numbers = replace(self.numbers, augmentation_level=self.recipe.next_augmentation)
        positive, negative = encoders.pair(context, z + self.noise * drawn, numbers)
        return two_frames.Picture(positive, negative, z)


def closing(preset: Preset, close: str, method: str, t: int, sampling: dict) -> two_frames.Journey | None:
    """How the last chunk meets its picture, None for an open end; the forward pass needs more of the
    prior.
    """
    if close == "open":
        return None
    how = Bridge(method=method, motion_prior=0.4 if method == "forward" else 0.2)
    sigmas = sampling["sigmas"]
    guidance = two_frames.step_guidance(preset, how, 1.0, (1.0, 3.0), len(sigmas) - 1)
    return two_frames.Journey(how, guidance, t, sigmas, sampling["seed"])


def maker(model, clip_vision, vae, images, look, numbers, recipe: Recipe, way: long.Plan) -> Maker:
    """`images`: the photo, how the video closes, and the picture for that or None; `look`: width, height,
    fit.
    """
    image, close, end_image = images
    if close == "picture" and end_image is None:
        raise ValueError(
            "close is picture, but no end_image is wired in; wire one in, or set close to open or loop"
        )
    photo = convert.pixels(image)
    if len(photo) > 1:
        raise ValueError(f"image holds {len(photo)} pictures; a long video begins with one: pick one of them")
    frame = encoders.frame(photo, *look)
    pictures = [photo, convert.pixels(end_image)[:1]] if close == "picture" else [photo]
    told = [two_frames.describe(clip_vision, vae, x, frame, numbers, recipe.seed) for x in pictures]
    fitted = convert.fit(photo, frame.width, frame.height, frame.fit)
    last = told[1] if len(told) > 1 else None
    return Maker(model, clip_vision, vae, fitted, told[0], last, numbers, recipe, way)
