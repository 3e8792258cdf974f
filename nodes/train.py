"""A LoRA trained on clips of one's own, in the host's process."""

import torch
from comfy_api.latest import io

from ..svd_core.training import tune
from ..svd_core.training.lora import TRAINABLE
from . import convert, files
from .host import train as host_train
from .host.say import say
from .validate import first, verdict

EVERYTHING = "all of these"


class PureSVDTrainLora(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDTrainLora",
            display_name="Train LoRA (SVD)",
            category="video/svd",
            description="Train a LoRA of the video U-Net on clips of your own, as SVD itself was trained. "
            "Cancel ends the training and gives out what was learned so far.",
            search_aliases=["svd", "train lora", "motion lora", "finetune", "camera lora"],
            inputs=[*footage(), *amount(), *advanced()],
            outputs=[
                io.Custom("LORA_MODEL").Output(
                    display_name="lora", tooltip="For Save LoRA Weights and Load LoRA Model."
                ),
                io.Image.Output(display_name="curve", tooltip="The loss over the steps, as a picture."),
                io.String.Output(
                    display_name="report",
                    tooltip="Memory, and the error at fixed noise levels before and after.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, width=None, height=None) -> bool | str:
        return first(verdict(cls, check_side, width=width), verdict(cls, check_side, height=height))

    @classmethod
    def fingerprint_inputs(
        cls,
        ckpt_name,
        images,
        fps,
        frames,
        width,
        height,
        parts,
        rank,
        steps,
        learning_rate,
        batch,
        bucket,
        save_memory,
        seed,
    ):
        return files.stamp(files.checkpoint_path(ckpt_name)), host_train.stopped

    @classmethod
    def execute(
        cls,
        ckpt_name,
        images,
        fps,
        frames,
        width,
        height,
        parts,
        rank,
        steps,
        learning_rate,
        batch,
        bucket,
        save_memory,
        seed,
    ) -> io.NodeOutput:
        convert.check_finite(fps=fps, learning_rate=learning_rate, bucket=bucket)
        check_side(width=width)
        check_side(height=height)
        path = files.checkpoint_path(ckpt_name)
        preset = host_train.preset(path)
        clips = split(images, frames or preset.frames)
        size = (height or preset.height, width or preset.width)
        chosen = TRAINABLE if parts == EVERYTHING else (parts,)
        plan = tune.Plan(chosen, rank, steps, learning_rate, batch, seed, save_memory, sheet_steps=20)
        lora, picture, told = host_train.train(
            path, clips, plan, size=size, fps=fps, bucket=bucket if bucket >= 0 else None
        )
        return io.NodeOutput(lora, convert.drawn(picture), "\n".join(told), ui=say(told))


def check_side(**side: int) -> None:
    """One side in pixels, by its name; 0 is the checkpoint's own."""
    ((name, value),) = side.items()
    if value:
        tune.check_side(name, value)


def footage():
    """What is trained on."""
    return [
        io.Combo.Input(
            "ckpt_name",
            options=files.checkpoints(),
            tooltip="The checkpoint to train for. It is loaded anew in bf16, or fp32 on a CPU.",
        ),
        io.Image.Input(
            "images",
            tooltip="The clips, one after the other; what is too short for another clip is left out.",
        ),
        io.Float.Input(
            "fps",
            default=7.0,
            min=1.0,
            max=120.0,
            step=0.5,
            tooltip="How many frames of the clips play in a second.",
        ),
        io.Int.Input(
            "frames",
            default=0,
            min=0,
            max=128,
            tooltip="Number of frames of a clip; 0: as the checkpoint was trained.",
        ),
        *(
            io.Int.Input(
                side,
                default=0,
                min=0,
                max=2048,
                step=64,
                tooltip=f"{side.capitalize()} to train at, in pixels; 0: as the checkpoint was trained.",
            )
            for side in ("width", "height")
        ),
    ]


def amount():
    """What is trained, and how far."""
    return [
        io.Combo.Input(
            "parts",
            options=[*TRAINABLE, EVERYTHING],
            default="temporal attention",
            tooltip="The layers to train. Camera movement is learned in the temporal attention.",
        ),
        io.Int.Input(
            "rank",
            default=16,
            min=1,
            max=256,
            tooltip="Size of the change of each layer, no unit; more learns more.",
        ),
        io.Int.Input(
            "steps",
            default=1000,
            min=1,
            max=100000,
            tooltip="Number of training steps; a longer run goes on from a shorter.",
        ),
        io.Float.Input(
            "learning_rate", default=1e-4, min=1e-7, max=1.0, step=1e-7, tooltip="Size of a step; no unit."
        ),
    ]


def advanced():
    """What most runs leave as it is."""
    return [
        io.Int.Input(
            "batch", default=4, min=1, max=64, advanced=True, tooltip="Number of clips that share a step."
        ),
        io.Float.Input(
            "bucket",
            default=-1.0,
            min=-1.0,
            max=255.0,
            step=1.0,
            advanced=True,
            tooltip="Motion bucket of all clips, no unit; -1: as each moves, for released files a guess.",
        ),
        io.Boolean.Input(
            "save_memory",
            default=True,
            advanced=True,
            tooltip="Compute more and keep less: slower, far smaller.",
        ),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=2**64 - 1,
            control_after_generate=True,
            tooltip="Which noise is drawn, and which clip when.",
        ),
    ]


def split(images: torch.Tensor, frames: int) -> list[torch.Tensor]:
    """IMAGE n H W c -> clips frames 3 H W in [0, 1]"""
    x = ((convert.pixels(images) + 1) / 2).clamp(0, 1)
    if len(x) < max(2, frames):
        raise ValueError(
            f"images holds {len(x)} of the {max(2, frames)} frames of one clip; wire in a longer clip, or "
            "lower frames to 2 or more"
        )
    return [x[i : i + frames] for i in range(0, len(x) - frames + 1, frames)]
