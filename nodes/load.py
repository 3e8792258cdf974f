"""Checkpoint files to MODEL, CLIP_VISION and VAE."""

from functools import partial

from comfy_api.latest import io

from . import files
from .host import load as host_load

WEIGHT_DTYPE = io.Combo.Input(
    "weight_dtype",
    options=["default", host_load.AS_STORED, "fp32", "fp16", "bf16", "fp8_e4m3fn"],
    default="default",
    tooltip="Number format in which the U-Net's weights are kept. default: what ComfyUI would choose for "
    "this device, or bf16 on a CPU with bf16 instructions; as stored: the file's own; fp8_e4m3fn halves the "
    "memory of fp16 and costs some detail.",
)


def outputs():
    return [
        io.Model.Output(display_name="model", tooltip="The video U-Net; works with every native model node."),
        io.ClipVision.Output(
            display_name="clip_vision", tooltip="The image encoder that sees the whole frame."
        ),
        io.Vae.Output(
            display_name="vae", tooltip="Image encoder and exact video decoder; carries the trained sizes."
        ),
    ]


class PureSVDLoadCheckpoint(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDLoadCheckpoint",
            display_name="Load Video Checkpoint (SVD)",
            category="video/svd",
            description="Load a Stable Video Diffusion checkpoint: a single safetensors file or a diffusers "
            "folder. Every tensor is checked; the report of what the file holds goes to the log.",
            search_aliases=[
                "svd",
                "ImageOnlyCheckpointLoader",
                "stable video diffusion",
                "image to video",
                "load svd",
            ],
            inputs=[
                io.Combo.Input(
                    "ckpt_name",
                    options=files.checkpoints(),
                    tooltip=f"The checkpoint to load. To add one, {files.WHERE}. svd makes 14 frames, svd_xt "
                    "and svd_xt_1_1 make 25, both at 1024x576.",
                ),
                WEIGHT_DTYPE,
            ],
            outputs=outputs(),
        )

    @classmethod
    def validate_inputs(cls, ckpt_name=None) -> bool | str:
        return files.check(files.checkpoint_path, ckpt_name)

    @classmethod
    def fingerprint_inputs(cls, ckpt_name, weight_dtype):
        return files.stamp(files.checkpoint_path(ckpt_name))

    @classmethod
    def execute(cls, ckpt_name, weight_dtype) -> io.NodeOutput:
        source = host_load.Source(path=files.checkpoint_path(ckpt_name))
        return io.NodeOutput(*host_load.load(source, weight_dtype))


class PureSVDLoadParts(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        tip = "Files of models/{} are listed first, then whole checkpoints, of which only this part is used."
        return io.Schema(
            node_id="PureSVDLoadParts",
            display_name="Load Video Checkpoint Parts (SVD)",
            category="video/svd",
            description="Load U-Net, VAE and CLIP image encoder from separate files, for example the "
            "AnimateLCM-SVD U-Net with the VAE and CLIP image encoder of svd_xt. Single-file and diffusers "
            "names both work.",
            search_aliases=["svd", "unet", "animatelcm"],
            inputs=[
                io.Combo.Input(
                    "unet_name",
                    options=files.parts("diffusion_models"),
                    tooltip=tip.format("diffusion_models"),
                ),
                io.Combo.Input("vae_name", options=files.parts("vae"), tooltip=tip.format("vae")),
                io.Combo.Input(
                    "clip_name", options=files.parts("clip_vision"), tooltip=tip.format("clip_vision")
                ),
                WEIGHT_DTYPE,
            ],
            outputs=outputs(),
        )

    @classmethod
    def validate_inputs(cls, unet_name=None, vae_name=None, clip_name=None) -> bool | str:
        chosen = {"diffusion_models": unet_name, "vae": vae_name, "clip_vision": clip_name}
        found = [files.check(partial(files.part_path, folder), name) for folder, name in chosen.items()]
        return next((sentence for sentence in found if sentence is not True), True)

    @classmethod
    def _paths(cls, unet_name, vae_name, clip_name):
        folders = ("diffusion_models", "vae", "clip_vision")
        return [
            files.part_path(folder, name) for folder, name in zip(folders, (unet_name, vae_name, clip_name))
        ]

    @classmethod
    def fingerprint_inputs(cls, unet_name, vae_name, clip_name, weight_dtype):
        return ";".join(map(files.stamp, cls._paths(unet_name, vae_name, clip_name)))

    @classmethod
    def execute(cls, unet_name, vae_name, clip_name, weight_dtype) -> io.NodeOutput:
        unet, vae, clip = cls._paths(unet_name, vae_name, clip_name)
        return io.NodeOutput(*host_load.load(host_load.Source(unet=unet, vae=vae, clip=clip), weight_dtype))
