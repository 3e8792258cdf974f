"""Clips between two pictures: every evaluation is conditioned on one of them, previews run in true time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import comfy.model_management
import comfy.model_patcher
import comfy.samplers
import torch
from torch import Tensor

from ...svd_core.checkpoint.presets import Preset
from ...svd_core.control.bridge import Bridge
from ...svd_core.control.two_frames import Ends, blend, flip
from ...svd_core.sampling import guidance as curves
from .. import convert
from . import encoders, wired
from . import guider as host_guider
from .course import Course
from .progress import apart, generator

LIFT_DOMAIN = 0x5045_5253_5644_4C46  # noise of climbs and lifts, apart from the latent noise of the same seed
USUAL_STEPS, STEEPEST = 25, 2.5  # steps for which guidance is stated, and how far fewer steps raise it
FIRST, LAST = "positive", "positive_end"


@dataclass(frozen=True)
class Picture:
    """What the model is told of one picture, and the latent it is to become."""

    positive: list  # CONDITIONING
    negative: list
    z: Tensor  # 1 4 h w, unscaled, of the picture without noise


class TwoFrameGuider(host_guider.FrameGuider):
    """A FrameGuider of two pictures; both passes run under all patches, wrappers and hooks of the model."""

    seen = FIRST
    conds: dict  # of the host, while it samples

    def predict_noise(self, x: Tensor, timestep: Tensor, model_options=None, seed=None) -> Tensor:
        both = self.conds
        self.conds = {**both, FIRST: both[self.seen]}
        try:
            return super().predict_noise(x, timestep, model_options, seed)
        finally:
            self.conds = both


def make_guider(model, first: Picture, last: Picture, scales: Callable[[int], Tensor]) -> TwoFrameGuider:
    wired.check(model)
    guider = TwoFrameGuider(model, scales)
    guider.inner_set_conds({FIRST: first.positive, LAST: last.positive, "negative": first.negative})
    return guider


class _Passes:
    """The core's passes under one run of the host: (x, sigma) -> D, b."""

    def __init__(self, model, extra: dict, *, plus: bool):
        self.model, self.guider, self.extra = model, model.inner_model, dict(extra)
        self.uncond: Tensor | None = None
        self.last: dict = {}
        self.estimates: dict[str, Tensor] = {}  # in true time
        if plus:  # the way of the host's own CFG++ samplers
            options = dict(self.extra.get("model_options", {}))
            self.extra["model_options"] = comfy.model_patcher.set_model_options_post_cfg_function(
                options, self._keep_uncond, disable_cfg1_optimization=True
            )

    def _keep_uncond(self, args: dict) -> Tensor:
        self.uncond = args["uncond_denoised"]
        return args["denoised"]

    def of(self, picture: str, t: int):
        def run(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
            comfy.model_management.throw_exception_if_processing_interrupted()
            self.guider.seen = picture
            D = self.model(x, sigma.to(x).expand(len(x)), **self.extra)
            self.estimates[picture] = D if picture == FIRST else flip(D, t)
            self.last.update(x=x, sigma=sigma, denoised=self.estimates[picture])
            return D, D if self.uncond is None else self.uncond

        return run


def sampler(how: Bridge, first: Tensor, last: Tensor, *, plus: bool) -> comfy.samplers.KSAMPLER:
    """`how` as the host's SAMPLER for a TwoFrameGuider; first, last 1 4 h w, unscaled; `plus`: CFG++."""

    def run(model, x, sigmas, extra_args=None, callback=None, disable=None):
        passes, extra, t = _Passes(model, extra_args or {}, plus=plus), extra_args or {}, len(x)
        scaled = [model.inner_model.inner_model.process_latent_in(z).to(x) for z in (first, last)]

        def on_step(i: int, n: int) -> None:
            if how.method == "trf":
                passes.last["denoised"] = blend(passes.estimates[FIRST], passes.estimates[LAST], t=t)
            if callback is not None:
                callback({"i": i, "sigma_hat": passes.last["sigma"], **passes.last})

        return how.run(
            passes.of(FIRST, t),
            passes.of(LAST, t),
            x,
            sigmas.cpu(),
            ends=Ends(*scaled),
            t=t,
            generator=generator(extra.get("seed") or 0, LIFT_DOMAIN),
            on_step=on_step,
        )

    return comfy.samplers.KSAMPLER(run)


@dataclass(frozen=True)
class Guidance:
    """What is done with the two branches: CFG++, or scales per frame in each pass's own time."""

    plus: bool
    scales: Callable[[int], Tensor]  # t -> t; CFG++'s w, or scales of guidance

    @property
    def branches(self) -> int:
        """Evaluations of a pass."""
        return 2 if self.plus or bool((self.scales(2) != 1).any()) else 1


def step_guidance(preset: Preset, how: Bridge, w: float, cfg: tuple[float, float], steps: int) -> Guidance:
    """Guidance of a method; w is CFG++'s at 25 steps. A checkpoint trained without guidance gets none."""
    convert.check_finite(guidance=w, min_cfg=cfg[0], max_cfg=cfg[1])
    if preset.max_cfg <= 1 or (w == 0 and how.method != "trf"):
        return Guidance(False, lambda t: curves.constant(1.0, 1.0, t))
    if how.method == "trf":
        return Guidance(False, lambda t: curves.linear(*cfg, t))
    scale = w * min(USUAL_STEPS / steps, STEEPEST)
    return Guidance(True, lambda t: curves.constant(scale, scale, t))


@dataclass(frozen=True)
class Journey:
    """How every clip of a way through pictures is made."""

    how: Bridge
    guidance: Guidance
    t: int
    sigmas: Tensor
    seed: int

    @property
    def evaluations(self) -> int:
        """Of the network, for one clip."""
        return self.how.passes(len(self.sigmas) - 1) * self.guidance.branches

    @property
    def steps(self) -> int:
        """As `on_step` counts them."""
        n = len(self.sigmas) - 1
        return n + sum(i - j for i, j in self.how.stops(n))


def chain(model, pictures: list[Picture], journey: Journey, course: Course) -> list[Tensor]:
    """A clip t 4 h w, unscaled, from each picture to the next."""
    count = len(pictures) - 1
    clips = []
    for k, (first, last) in enumerate(zip(pictures, pictures[1:])):
        callback = course.part(journey.steps, f"clip {k + 1} of {count}")
        clips.append(
            clip_between(model, first, last, journey, seed=apart(journey.seed, k), callback=callback)
        )
    return clips


def clip_between(model, first: Picture, last: Picture, journey: Journey, *, seed: int, callback) -> Tensor:
    guider = make_guider(model, first, last, journey.guidance.scales)
    method = sampler(journey.how, first.z, last.z, plus=journey.guidance.plus)
    empty = {"samples": torch.zeros(journey.t, *first.z.shape[1:])}
    return host_guider.sample(guider, empty, method, journey.sigmas, seed, callback=callback)["samples"]


def describe(clip_vision, vae, x: Tensor, frame, numbers, seed: int) -> Picture:
    """A picture 1 3 H W in [-1, 1] to what the model is told of it, and to its clean latent."""
    positive, negative = encoders.reference(clip_vision, vae, x, frame, numbers, seed)
    fitted = convert.fit(x, frame.width, frame.height, frame.fit)
    return Picture(positive, negative, vae.encode(convert.image(fitted)).float())
