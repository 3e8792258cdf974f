"""Guidance per frame, for SamplerCustomAdvanced."""

from comfy_api.latest import io

from . import convert, widgets
from .host import guider as host_guider
from .host import trained
from .host.say import say


class PureSVDGuider(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDGuider",
            display_name="Video Guider",
            category="video/svd",
            description="One guidance scale per frame, for SamplerCustomAdvanced. Replaces guidance that another "
            "node patched onto the model; the model itself is left as it is.",
            search_aliases=[
                "svd",
                "VideoLinearCFGGuidance",
                "VideoTriangleCFGGuidance",
                "cfg",
                "guidance",
                "linear cfg",
            ],
            inputs=[
                io.Model.Input("model", tooltip="An SVD model."),
                io.Conditioning.Input(
                    "positive", tooltip="Conditioning with the photo, from Image to Video."
                ),
                io.Conditioning.Input("negative", tooltip="Its counterpart without the photo."),
                *widgets.guidance_inputs(),
            ],
            outputs=[
                io.Guider.Output(
                    display_name="guider", tooltip="For the guider socket of SamplerCustomAdvanced."
                )
            ],
        )

    @classmethod
    def execute(cls, model, positive, negative, min_cfg, max_cfg, curve) -> io.NodeOutput:
        convert.conditioning("positive", positive)
        convert.conditioning("negative", negative)
        preset, notes = trained.of_model(model)
        scales = widgets.frame_scales(preset, min_cfg, max_cfg, curve)
        guider = host_guider.make_guider(model, positive, negative, scales)
        return io.NodeOutput(guider, ui=say((notes if curve == widgets.AS_TRAINED else []) + guider.notes))
