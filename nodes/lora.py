"""LoRA files on the video U-Net: a patched MODEL, or HOOKS for one conditioning or some steps only."""

from comfy_api.latest import io

from ..svd_core.adapters.names import PARTS
from . import convert, files
from .host import adapters
from .host.say import say

WHAT = {
    "temporal attention": "the attention between frames, where camera movement is learned",
    "spatial attention": "the attention within a frame",
    "feed-forward": "the feed-forward layers of both",
    "projections": "the projections into and out of the attention blocks",
    "convolutions": "the convolutions over space and time",
    "embeddings": "the embeddings of noise level, fps, motion and frame number",
    "mixers": "the factors that weigh space against time",
}
REPORT = (
    "How many layers of each part the file changes, its ranks, and the largest change relative to the "
    "weights."
)


def inputs():
    """Model, file, and one strength for all and one for each part."""
    bounds = dict(default=1.0, min=-20.0, max=20.0, step=0.01)
    return [
        io.Model.Input("model", tooltip="The video U-Net, from this pack or from ComfyUI's own loader."),
        io.Combo.Input(
            "lora_name",
            options=files.loras(),
            tooltip="The LoRA: a safetensors file in any naming (PEFT, diffusers, kohya, LyCORIS, ComfyUI's "
            f"own). To add one, {files.WHERE_LORAS}.",
        ),
        io.Float.Input(
            "strength",
            **bounds,
            tooltip="How strongly the LoRA acts, no unit: 1 as trained, 0 not at all, negative the opposite.",
        ),
        *(
            io.Float.Input(
                identifier(part),
                **bounds,
                advanced=True,
                tooltip=f"Multiplies strength for {WHAT[part]}; no unit, 0 leaves them out.",
            )
            for part in PARTS
        ),
    ]


def identifier(part):
    return part.replace(" ", "_").replace("-", "_")


def strengths(strength, *parts):
    """part -> strength, all finite"""
    given = dict(zip(map(identifier, PARTS), parts))
    convert.check_finite(strength=strength, **given)
    return {part: strength * value for part, value in zip(PARTS, parts)}


class PureSVDLoadLora(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDLoadLora",
            display_name="Load LoRA (SVD)",
            category="video/svd",
            description="Apply all of a LoRA to the video U-Net, the layers over time included, which "
            "ComfyUI's own loader leaves out of files with diffusers or PEFT names. A file that does not fit "
            "is refused with the reason.",
            search_aliases=["svd", "lora", "camera", "motion lora", "lycoris", "dora"],
            inputs=inputs(),
            outputs=[
                io.Model.Output(
                    display_name="model", tooltip="The patched model; the one given is unchanged."
                ),
                io.String.Output(display_name="report", tooltip=REPORT),
            ],
        )

    @classmethod
    def validate_inputs(cls, lora_name=None) -> bool | str:
        return files.check(files.lora_path, lora_name)

    @classmethod
    def fingerprint_inputs(
        cls,
        model,
        lora_name,
        strength,
        temporal_attention,
        spatial_attention,
        feed_forward,
        projections,
        convolutions,
        embeddings,
        mixers,
    ):
        return files.stamp(files.lora_path(lora_name))

    @classmethod
    def execute(
        cls,
        model,
        lora_name,
        strength,
        temporal_attention,
        spatial_attention,
        feed_forward,
        projections,
        convolutions,
        embeddings,
        mixers,
    ) -> io.NodeOutput:
        parts = (
            temporal_attention,
            spatial_attention,
            feed_forward,
            projections,
            convolutions,
            embeddings,
            mixers,
        )
        chosen = strengths(strength, *parts)
        lora, layers, report = adapters.load(files.lora_path(lora_name), model)
        return io.NodeOutput(
            adapters.patched(model, lora, layers, chosen), report, ui=say(report.split("\n"))
        )


class PureSVDLoraHook(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDLoraHook",
            display_name="Create LoRA Hook (SVD)",
            category="video/svd",
            description="The LoRA of Load LoRA as hooks: wire them into a conditioning, with keyframes if it "
            "shall act in some of the sampling steps only. The model for sampling stays unpatched.",
            search_aliases=["svd", "lora hook", "lora schedule", "keyframes"],
            inputs=[
                *inputs(),
                io.Hooks.Input(
                    "prev_hooks",
                    optional=True,
                    tooltip="Hooks that act as well, of any kind; these are added to them.",
                ),
            ],
            outputs=[
                io.Hooks.Output(
                    display_name="hooks",
                    tooltip="For Set Hook Keyframes, and the nodes that attach hooks to a conditioning.",
                ),
                io.String.Output(display_name="report", tooltip=REPORT),
            ],
        )

    @classmethod
    def validate_inputs(cls, lora_name=None) -> bool | str:
        return files.check(files.lora_path, lora_name)

    @classmethod
    def fingerprint_inputs(
        cls,
        model,
        lora_name,
        strength,
        temporal_attention,
        spatial_attention,
        feed_forward,
        projections,
        convolutions,
        embeddings,
        mixers,
        prev_hooks=None,
    ):
        return files.stamp(files.lora_path(lora_name))

    @classmethod
    def execute(
        cls,
        model,
        lora_name,
        strength,
        temporal_attention,
        spatial_attention,
        feed_forward,
        projections,
        convolutions,
        embeddings,
        mixers,
        prev_hooks=None,
    ) -> io.NodeOutput:
        parts = (
            temporal_attention,
            spatial_attention,
            feed_forward,
            projections,
            convolutions,
            embeddings,
            mixers,
        )
        chosen = strengths(strength, *parts)
        lora, layers, report = adapters.load(files.lora_path(lora_name), model)
        return io.NodeOutput(
            adapters.hooks(model, lora, layers, chosen, prev_hooks), report, ui=say(report.split("\n"))
        )
