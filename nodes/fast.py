"""Less computing for nearly the same video, and what that risks."""

from __future__ import annotations

from dataclasses import replace

from comfy_api.latest import io

from ..svd_core.sampling.reuse import Pace
from . import convert
from .host import fast

OF_MODE = "-1 takes the one of mode"
OWN: dict[str, bool] = {"optional": True, "advanced": True}
MODES = {
    "off": None,
    "gentle": Pace(tau=0.13, tolerance=0.05),
    "experimental": Pace(tau=0.2, branch=1, tolerance=0.15, uncond_every=2),
}


class PureSVDFast(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDFast",
            display_name="Reuse Features (SVD)",
            category="video/svd/control",
            description="Compute the deep half of the network anew only where the noise level has changed "
            "enough, and say what that saved and risked: nearly the same video in five sixths of the time. "
            "For much less time take fewer steps with the schedule AYS.",
            search_aliases=["svd", "deepcache", "teacache", "easycache", "fast", "speed", "cache"],
            inputs=[
                io.Model.Input("model", tooltip="An SVD model of this pack. It is patched on a clone."),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default="gentle",
                    tooltip="off: every pass whole, the same bytes as without this node; gentle: about five "
                    "sixths of the time; experimental: about two thirds, and worse than 10 steps of AYS. "
                    "For 20 steps and more.",
                ),
                *_own_inputs(),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model, for any sampler.")],
        )

    @classmethod
    def execute(cls, model, mode, tau=-1.0, branch=-1, uncond_every=0, tolerance=-1.0) -> io.NodeOutput:
        convert.check_finite(tau=tau, tolerance=tolerance)
        pace = MODES[mode]
        if pace is None:
            return io.NodeOutput(model)
        own = {"tau": tau, "branch": branch, "tolerance": tolerance, "uncond_every": uncond_every or -1}
        return io.NodeOutput(fast.patch(model, replace(pace, **{k: v for k, v in own.items() if v >= 0})))


def _own_inputs():
    return [
        io.Float.Input(
            "tau",
            default=-1.0,
            min=-1.0,
            max=0.5,
            step=0.01,
            round=False,
            **OWN,
            tooltip="How far the noise level may move before everything is computed anew, a quarter of its "
            f"natural logarithm, no unit; {OF_MODE} (0.13, 0.2), 0 reuses nothing.",
        ),
        io.Int.Input(
            "branch",
            default=-1,
            min=-1,
            max=2,
            **OWN,
            tooltip="How much is computed in every step: 0 a quarter of a pass, 1 two fifths, 2 half, each "
            f"with less error; no unit, {OF_MODE} (0, 1).",
        ),
        io.Int.Input(
            "uncond_every",
            default=0,
            min=0,
            max=5,
            **OWN,
            tooltip="The pass without the photo runs in every so many-th guided step, and guides the steps "
            "after it as well; 0 takes the one of mode (1, 2).",
        ),
        io.Float.Input(
            "tolerance",
            default=-1.0,
            min=-1.0,
            max=1.0,
            step=0.01,
            round=False,
            **OWN,
            tooltip="Estimated error, share of the result's size, beyond which the rest is computed exactly; "
            f"{OF_MODE} (0.05, 0.15), 0 risks nothing.",
        ),
    ]
