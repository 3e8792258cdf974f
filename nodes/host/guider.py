"""GUIDER and SAMPLER: guidance per frame on a clone of the model, and the core's samplers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
from torch import Tensor

from ...svd_core.control.hold import in_parts
from ...svd_core.sampling.guidance import PLAIN, Guidance, Shape
from . import hold, wired
from .progress import generator

# Noise drawn between steps, apart from the latent noise of the same seed.
CHURN_DOMAIN = 0x5045_5253_5644_4E31
REPLACED = (
    "Another node's guidance on this model is replaced by the guidance chosen here. Take that node out, or "
    "sample with KSampler to keep it."
)


class FrameGuider(comfy.samplers.CFGGuider):
    """The core's guidance over frames and levels; replaces guidance patched onto the model, on a clone.

    `scales` gives each of t frames its scale. `notes` are what the user should know.
    """

    def __init__(self, model_patcher, scales: Callable[[int], Tensor], shape: Shape = PLAIN):
        clone = model_patcher.clone()
        replaced = clone.model_options.pop("sampler_cfg_function", None)
        self.notes = [REPLACED] if replaced is not None else []
        super().__init__(clone)
        self.scales, self.shape = scales, shape
        self.sigmas: Tensor | None = None
        self.guidance: Guidance | None = None

    def passes(self, sigmas: Tensor, t: int) -> list[int]:
        """How many passes each step makes: 2 where any frame is guided, else 1; n + 1 levels -> n."""
        guidance = Guidance(self.scales(t), self.shape, sigmas.cpu())
        return [1 if bool((guidance.scale_at(s) == 1).all()) else 2 for s in sigmas.cpu()[:-1]]

    def sample(self, noise, latent_image, sampler, sigmas, *args, **kwargs) -> Tensor:
        self.sigmas, self.guidance = sigmas.cpu(), None
        return super().sample(noise, latent_image, sampler, sigmas, *args, **kwargs)

    def predict_noise(self, x: Tensor, timestep: Tensor, model_options=None, seed=None) -> Tensor:
        """x t 4 h w, timestep (sigma) t -> denoised t 4 h w"""
        if self.guidance is None or len(self.guidance.scale) != len(x):
            self.guidance = Guidance(self.scales(len(x)), self.shape, self.sigmas)
        guidance, sigma = self.guidance, timestep[0]
        scale = guidance.scale_at(sigma)
        options = dict(model_options or {})
        uncond = self.conds.get("negative")
        if bool((scale == 1).all()) and not options.get("disable_cfg1_optimization", False):
            return self._sample(x, timestep, None, 1.0, options, seed)

        def frame_guidance(args):
            if self.shape.linear:  # then what holds for D holds for the x - D that the host hands over
                return guidance(args["cond"], args["uncond"], sigma)
            return args["input"] - guidance(args["cond_denoised"], args["uncond_denoised"], sigma)

        options["sampler_cfg_function"] = frame_guidance
        options["disable_cfg1_optimization"] = True  # frames below the maximum need the unconditional pass
        return self._sample(x, timestep, uncond, float(scale.max()), options, seed)

    def _sample(self, x, timestep, uncond, cfg, options, seed) -> Tensor:
        return comfy.samplers.sampling_function(
            self.inner_model,
            x,
            timestep,
            uncond,
            self.conds.get("positive"),
            cfg,
            model_options=options,
            seed=seed,
        )


def make_guider(
    model, positive, negative, scales: Callable[[int], Tensor], shape: Shape = PLAIN
) -> FrameGuider:
    wired.check(model)
    guider = FrameGuider(model, scales, shape)
    guider.set_conds(positive, negative)
    return guider


def sampler(function: Callable) -> comfy.samplers.KSAMPLER:
    """A core sampler `function(denoise, x, sigmas, on_step=, generator=)` as the host's SAMPLER."""

    def run(model, x, sigmas, extra_args=None, callback=None, disable=None, **options):
        extra = extra_args or {}
        last: dict[str, Tensor] = {}

        def denoise(x: Tensor, sigma) -> Tensor:
            comfy.model_management.throw_exception_if_processing_interrupted()
            levels = sigma.to(x).expand(x.shape[0])
            last.update(x=x, sigma=sigma, denoised=model(x, levels, **extra))
            return last["denoised"]

        def on_step(i: int, n: int) -> None:
            if callback is not None:
                callback({"i": i, "sigma_hat": last["sigma"], **last})

        noise = generator(extra.get("seed") or 0, CHURN_DOMAIN)
        levels, border = sigmas.cpu(), hold.border(extra.get("model_options") or {})
        method = partial(function, **options)
        if border is None:
            return method(denoise, x, levels, generator=noise, on_step=on_step)
        return in_parts(method, denoise, x, levels, border=border, generator=noise, on_step=on_step)

    return comfy.samplers.KSAMPLER(run)


def noise_like(latent: dict, seed: int) -> Tensor:
    """The host's noise for this seed and LATENT, drawn without touching the global generator."""
    return comfy.sample.prepare_noise_inner(latent["samples"], generator(seed), latent.get("batch_index"))


def sample(
    guider: FrameGuider, latent: dict, sampler, sigmas: Tensor, seed: int, *, callback: Callable | None = None
) -> dict:
    """Run the guider over the noise levels; LATENT in, LATENT out, which has no start of its own any more."""
    z, noise = latent["samples"], noise_like(latent, seed)
    if variance := latent.get("start_variance", 0.0):
        noise = noise * (1 + variance / float(sigmas[0]) ** 2) ** 0.5
    callback = callback or latent_preview.prepare_callback(guider.model_patcher, sigmas.shape[-1] - 1)
    out = guider.sample(
        noise,
        z,
        sampler,
        sigmas,
        denoise_mask=latent.get("noise_mask"),
        callback=callback,
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )
    rest = {key: value for key, value in latent.items() if not key.startswith("start_")}
    return {**rest, "samples": out.to(comfy.model_management.intermediate_device())}
