"""ControlNets for the video U-Net, to be applied by the host's own node."""

from comfy_api.latest import io

from ..svd_core.models.controlnet import ACCUMULATION
from . import files
from .host import control


class PureSVDLoadControlNet(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDLoadControlNet",
            display_name="Load ControlNet (SVD)",
            category="video/svd",
            description="Load a ControlNet for the video U-Net: a temporal one (depth, lineart) or "
            "ControlNeXt-SVD v2 (pose). Apply ControlNet of ComfyUI takes it, with one picture for each "
            "frame.",
            search_aliases=["svd", "controlnet", "controlnext", "depth", "lineart", "pose"],
            inputs=[
                io.Combo.Input(
                    "control_net_name",
                    options=files.controlnets(),
                    tooltip="The ControlNet, a safetensors file in diffusers names. To add one, "
                    f"{files.WHERE_CONTROLNETS}.",
                ),
                io.Combo.Input(
                    "accumulation",
                    options=list(ACCUMULATION),
                    default=ACCUMULATION[0],
                    advanced=True,
                    tooltip="How often a temporal ControlNet is added. as trained: up to four times where "
                    "detail is finest, as in its own code; once: everywhere once, which wants more strength.",
                ),
                io.Combo.Input(
                    "hint_range",
                    options=list(control.RANGES),
                    default="as trained",
                    advanced=True,
                    tooltip="Values that black and white become. as trained: -1 to 1 for temporal "
                    "ControlNets, 0 to 1 for ControlNeXt, as their own pipelines do.",
                ),
            ],
            outputs=[
                io.ControlNet.Output(
                    display_name="control_net",
                    tooltip="For Apply ControlNet, with the model of Load Video Checkpoint.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, control_net_name=None) -> bool | str:
        return files.check(files.controlnet_path, control_net_name)

    @classmethod
    def fingerprint_inputs(cls, control_net_name, accumulation, hint_range):
        return files.stamp(files.controlnet_path(control_net_name))

    @classmethod
    def execute(cls, control_net_name, accumulation, hint_range) -> io.NodeOutput:
        path = files.controlnet_path(control_net_name)
        return io.NodeOutput(control.load(path, accumulation, hint_range))
