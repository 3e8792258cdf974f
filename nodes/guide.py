"""Guidance per frame and level, for SamplerCustomAdvanced."""

import math

from comfy_api.latest import io

from ..svd_core.sampling import guidance_picture
from ..svd_core.sampling.guidance import OVER_LEVELS, Guidance, Shape
from . import convert, files, widgets
from .host import guider as host_guider
from .host import trained
from .host.say import say
from .validate import verdict

ALWAYS = 10000.0  # a level above all others
ADVANCED: dict[str, bool] = {"optional": True, "advanced": True}


class PureSVDGuider(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDGuider",
            display_name="Video Guider (SVD)",
            category="video/svd",
            description="One guidance scale per frame, for SamplerCustomAdvanced; on request only at some "
            "noise levels, or projected. Replaces guidance that another node patched onto the model; the "
            "model itself is left as it is.",
            search_aliases=[
                "svd",
                "VideoLinearCFGGuidance",
                "VideoTriangleCFGGuidance",
                "cfg",
                "guidance",
                "linear cfg",
                "apg",
                "guidance interval",
            ],
            inputs=[
                io.Model.Input("model", tooltip="An SVD model."),
                io.Conditioning.Input(
                    "positive", tooltip="Conditioning with the photo, from Image to Video."
                ),
                io.Conditioning.Input("negative", tooltip="Its counterpart without the photo."),
                *widgets.guidance_inputs(drawn=True),
                *_level_inputs(),
                *_projection_inputs(),
                io.Custom("CURVE").Input(
                    "drawn",
                    optional=True,
                    advanced=True,
                    tooltip="For the curve drawn: drawn here in Nodes 2.0, or wired in from Curve Editor. "
                    "Left is the first frame, right the last; bottom is min_cfg, top max_cfg.",
                ),
            ],
            outputs=[
                io.Guider.Output(
                    display_name="guider", tooltip="For the guider socket of SamplerCustomAdvanced."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, from_level=ALWAYS, to_level=0.0) -> bool | str:
        return verdict(cls, Shape, from_level=from_level, to_level=to_level)

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        min_cfg,
        max_cfg,
        curve,
        from_level=ALWAYS,
        to_level=0.0,
        over_levels="even",
        eta=1.0,
        limit=0.0,
        limit_over="clip",
        momentum=0.0,
        drawn=None,
    ) -> io.NodeOutput:
        convert.conditioning("positive", positive)
        convert.conditioning("negative", negative)
        preset, notes = trained.of_model(model)
        scales = widgets.frame_scales(preset, min_cfg, max_cfg, curve, drawn=drawn)
        shape = Shape(
            from_level=math.inf if from_level == ALWAYS else from_level,
            to_level=to_level,
            over_levels=over_levels,
            eta=eta,
            limit=limit,
            limit_over=limit_over,
            momentum=momentum,
        )
        guider = host_guider.make_guider(model, positive, negative, scales, shape)
        levels = widgets.noise_levels(preset.schedule, preset.steps)
        picture = guidance_picture.draw(Guidance(scales(preset.frames), shape, levels), levels)
        shown = files.shown(picture, cls)
        shown |= say((notes if curve == widgets.AS_TRAINED else []) + guider.notes) or {}
        return io.NodeOutput(guider, ui=shown)


def _level_inputs():
    return [
        io.Float.Input(
            "from_level",
            default=ALWAYS,
            min=0.0,
            max=ALWAYS,
            step=0.01,
            round=False,
            **ADVANCED,
            tooltip="Highest noise level with guidance, standard deviation in latent units; above it the "
            "model's own answer to the photo stands, at half the cost. Trained levels reach 700; 10000 "
            "guides from the start.",
        ),
        io.Float.Input(
            "to_level",
            default=0.0,
            min=0.0,
            max=ALWAYS,
            step=0.01,
            round=False,
            **ADVANCED,
            tooltip="Guidance ends at this noise level, standard deviation in latent units; below it a step "
            "costs half. Trained levels reach down to 0.002; 0 guides to the end.",
        ),
        io.Combo.Input(
            "over_levels",
            options=list(OVER_LEVELS),
            default="even",
            **ADVANCED,
            tooltip="How guidance is shared out among the steps. even: the same at each; as CFG++: more at "
            "high noise, less at the end, the same on average.",
        ),
    ]


def _projection_inputs():
    return [
        io.Float.Input(
            "eta",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.05,
            **ADVANCED,
            tooltip="Share of guidance along the picture itself that stays, which raises contrast and "
            "colour. 1: all, as svd was trained to be sampled; 0: none, for high max_cfg without "
            "over-saturation (APG).",
        ),
        io.Float.Input(
            "limit",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.005,
            round=0.0001,
            **ADVANCED,
            tooltip="Largest root mean square of what guidance adds per unit of scale, standard deviation in "
            "latent units. 0: no limit, as trained; about 0.05 tames outliers, at every size alike.",
        ),
        io.Combo.Input(
            "limit_over",
            options=["clip", "frame"],
            default="clip",
            **ADVANCED,
            tooltip="What the limit is measured over. clip: one factor for all frames, so that contrast does "
            "not pump; frame: each by itself.",
        ),
        io.Float.Input(
            "momentum",
            default=0.0,
            min=-1.0,
            max=1.0,
            step=0.05,
            **ADVANCED,
            tooltip="Share of the guidance of the steps before that is added; below 0 it is taken off. 0: "
            "none, as trained; APG uses -0.5. Only for samplers that ask once a step, such as euler.",
        ),
    ]
