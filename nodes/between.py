"""A clip from picture to picture, or in a loop."""

import torch
from comfy_api.latest import io

from ..svd_core.control.bridge import METHODS, PINS, Bridge
from . import convert, inputs, widgets
from .host import encoders, seam, trained, two_frames
from .host.say import say


class PureSVDBetween(inputs.Sized, io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDBetween",
            display_name="Between Pictures (SVD)",
            category="video/svd",
            description="A clip that begins with one picture and ends with another. Without an end picture "
            "it returns to the start as a loop, without the doubled frame. More than two pictures are passed "
            "one after the other.",
            search_aliases=[
                "svd",
                "first last frame",
                "loop",
                "keyframes",
                "inbetween",
                "morph",
                "vibid",
                "trf",
            ],
            inputs=[
                *_sockets(),
                *inputs.size_inputs(),
                *_method_inputs(),
                *_prior_inputs(),
                *_picture_inputs(),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The clip, for Decode Video."),
                io.String.Output(
                    display_name="report", tooltip="How the clip meets its pictures, as text and JSON."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        clip_vision,
        vae,
        start_image,
        width,
        height,
        frames,
        seed,
        steps,
        schedule,
        method,
        guidance,
        min_cfg,
        max_cfg,
        motion_prior,
        motion_prior_repeats,
        motion_prior_strength,
        reinjection,
        reinjection_length,
        reinjection_until,
        pin,
        pin_below,
        motion_bucket_id,
        fps,
        augmentation_level,
        fit,
        end_image=None,
        loop_repair=0.0,
    ) -> io.NodeOutput:
        prior = (motion_prior, motion_prior_repeats, motion_prior_strength)
        how = Bridge(method, *prior, reinjection, reinjection_length, reinjection_until, pin, pin_below)
        preset, notes = trained.of_video(vae, clip_vision)
        levels, t = widgets.levels_of(preset, steps, schedule), length(frames or preset.frames)
        scale = two_frames.step_guidance(preset, how, guidance, (min_cfg, max_cfg), len(levels) - 1)
        numbers = encoders.Numbers(motion_bucket_id, fps or preset.fps, augmentation_level)
        images, loop = sequence(start_image, end_image)
        frame = encoders.frame(images[0], width or preset.width, height or preset.height, fit)
        pictures = [two_frames.describe(clip_vision, vae, x, frame, numbers, seed) for x in images]
        journey = two_frames.Journey(how, scale, t, levels, seed)
        repair = (images[0], frame, loop * loop_repair)
        mender = seam.mender(model, clip_vision, vae, repair, journey, numbers)
        z, report, faults = seam.whole(model, pictures, journey, mender, loop=loop)
        return io.NodeOutput({"samples": z}, report, ui=say([*notes, *faults]))


def _sockets():
    return [
        *inputs.model_inputs(),
        io.Image.Input(
            "start_image",
            tooltip="The first frame. A batch is passed through in order, a clip from each to the next.",
        ),
    ]


def _method_inputs():
    return [
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=0xFFFF_FFFF_FFFF_FFFF,
            control_after_generate=True,
            tooltip="Which noise to start from, and which noise is put on the pictures.",
        ),
        widgets.steps_input(),
        widgets.schedule_input(),
        io.Combo.Input(
            "method",
            options=list(METHODS),
            default="vibid",
            tooltip="vibid: a step from the first picture and one back from the last at every level; trf: "
            "both blended into one step; forward: from the first picture alone, drawn to the last by "
            "motion_prior. Evaluations a step: vibid and trf 4, forward 2, half as many without guidance. "
            "For a model that can only move one way use forward.",
        ),
        io.Float.Input(
            "guidance",
            default=1.0,
            min=0.0,
            max=3.0,
            step=0.05,
            tooltip="Strength of the pictures with vibid and forward, no unit: CFG++, where 1.0 at 25 steps "
            "is a guidance scale of about 4.5 that falls to 1; other numbers of steps are scaled to it. 0: "
            "no guidance, half the time. Not trained; checkpoints trained for 1.0 never use it.",
        ),
        _number(
            "min_cfg",
            1.0,
            30.0,
            "Guidance scale at the picture of each pass with trf, no unit. 1.0 as its authors use.",
        ),
        _number(
            "max_cfg",
            3.0,
            30.0,
            "Guidance scale at the far end of each pass with trf, no unit; the far end counts least. 3.0 as "
            "its authors use.",
        ),
    ]


def _number(name, default, highest, tooltip, *, lowest=0.0):
    return io.Float.Input(
        name, default=default, min=lowest, max=highest, step=0.05, advanced=True, tooltip=tooltip
    )


def _count(name, default, highest, tooltip, *, lowest=0):
    return io.Int.Input(name, default=default, min=lowest, max=highest, advanced=True, tooltip=tooltip)


def _prior_inputs():
    return [
        io.Float.Input(
            "motion_prior",
            default=0.2,
            min=0.0,
            max=1.0,
            step=0.05,
            tooltip="Share of the first steps, 0 to 1, in which the whole predicted clip is moved so that it "
            "ends at the last picture (vibid and forward). forward needs it.",
        ),
        _count(
            "motion_prior_repeats",
            3,
            5,
            "How many times this is done at each of these steps (vibid); each costs an evaluation, two with "
            "guidance.",
            lowest=1,
        ),
        _number(
            "motion_prior_strength",
            1.0,
            1.0,
            "Share of the error at the end by which the clip is moved, 0 to 1.",
        ),
        _count(
            "reinjection",
            0,
            5,
            "How many times fresh noise takes the clip back up at each stop (trf and forward). trf's authors "
            "use 1; more is slower.",
        ),
        _count("reinjection_length", 0, 10, "Number of steps it is taken back; 0 is a tenth of all steps."),
        _number(
            "reinjection_until",
            0.8,
            0.95,
            "Share of the steps still to go at the last stop, 0.5 to 0.95; lower makes more stops.",
            lowest=0.5,
        ),
    ]


def _picture_inputs():
    return [
        io.Combo.Input(
            "pin",
            options=list(PINS),
            default="both",
            advanced=True,
            tooltip="Which ends are held to their picture at every step. both: first and last frame are "
            "exact; end: the last one only; none: the model decides.",
        ),
        _number(
            "pin_below",
            0.0,
            5.0,
            "Noise level under which the ends are let go, standard deviation in latent units; 0 holds them to"
            " the end. About 0.3 avoids ends that are sharper than the rest.",
        ),
        *inputs.motion_inputs(),
        inputs.fit_input(),
        io.Image.Input(
            "end_image",
            optional=True,
            tooltip="The last frame. Left out: back to the first, a loop without the doubled frame.",
        ),
        inputs.repair_input(),
    ]


def sequence(start_image, end_image) -> tuple[list[torch.Tensor], bool]:
    """Pictures 1 3 H W in order, and whether the way leads back."""
    images = list(convert.pixels(start_image).split(1))
    if end_image is not None:
        images += convert.pixels(end_image).split(1)
    if len(images) == 1 or end_image is None:
        return [*images, images[0]], True
    same = len(images) == 2 and torch.equal(images[0], images[1])
    return images, same


def length(frames: int) -> int:
    if frames < 3:
        raise ValueError(f"frames {frames} leaves nothing between two pictures; use at least 3")
    return frames
