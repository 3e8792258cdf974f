"""A guide clip held in D as a patch on a MODEL, through the host's hook behind guidance."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...svd_core.control import hold
from . import wired


@dataclass(frozen=True, eq=False)
class Hold:
    """D -> m z + (1 - m) D above a noise level, as a `sampler_post_cfg_function` of the host."""

    z: Tensor  # t 4 h w, times the latent scale
    mask: Tensor  # t 1 h w in [0, 1]
    strong_level: float

    def __call__(self, args: dict) -> Tensor:
        """args of the host: `denoised` t 4 h w, `sigma` t -> denoised"""
        D = args["denoised"]
        if float(args["sigma"].max()) <= self.strong_level:
            return D
        if D.shape != self.z.shape:
            raise ValueError(
                f"the guide clip's latent has shape {tuple(self.z.shape)}, the sampled one {tuple(D.shape)}; "
                "give both the same size and number of frames, or sample the latent of Follow Clip"
            )
        return hold.held(D, self.z, self.mask)


def patch(model, z: Tensor, mask: Tensor, strong_level: float):
    """A clone of the MODEL that holds the unscaled latent z t 4 h w where the mask t 1 h w is 1."""
    wired.check(model)
    clone = model.clone()
    clone.set_model_sampler_post_cfg_function(Hold(model.model.process_latent_in(z), mask, strong_level))
    return clone


def border(model_options: dict) -> float | None:
    """The lowest level above which these options hold a clip, if they do."""
    patches = model_options.get("sampler_post_cfg_function", [])
    return min((each.strong_level for each in patches if isinstance(each, Hold)), default=None)
