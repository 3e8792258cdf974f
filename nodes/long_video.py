"""A video of any length from one photo."""

import torch
from comfy_api.latest import io

from ..svd_core.control import long
from ..svd_core.control.bridge import METHODS
from . import convert, inputs, widgets
from .host import encoders, long_video, trained
from .host.say import say
from .validate import NOT_WIRED, first, verdict


class PureSVDLongVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDLongVideo",
            display_name="Long Video (SVD)",
            category="video/svd",
            description="A video of any length from one photo, in the memory of one window: each chunk goes "
            "on from the last latent, its colours held to those at the start. A longer video begins with the "
            "shorter one.",
            search_aliases=["svd", "long video", "extend", "continue", "loop", "chain"],
            inputs=[
                *inputs.model_inputs(),
                io.Image.Input("image", tooltip="The first frame: one photo."),
                _seconds_input(),
                *inputs.size_inputs(),
                *inputs.motion_inputs(),
                inputs.fit_input(),
                *_sampling_inputs(),
                *_chain_inputs(),
                *_search_inputs(),
                *_end_inputs(),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The whole video, for Decode Video."),
                io.String.Output(
                    display_name="report", tooltip="What every chunk did, with warnings, as text and JSON."
                ),
                io.Float.Output(display_name="fps", tooltip="Frames per second at which it lasts as asked."),
                io.Image.Output(display_name="chart", tooltip="How every chunk differs from the start."),
            ],
        )

    @classmethod
    def validate_inputs(cls, width=None, height=None, close=None, end_image=NOT_WIRED) -> bool | str:
        ends = verdict(cls, lambda close: long_video.check_close(close, wired=end_image is None), close=close)
        return first(inputs.sides(cls, width, height), ends)

    @classmethod
    def execute(
        cls,
        model,
        clip_vision,
        vae,
        image,
        seconds,
        width,
        height,
        frames,
        motion_bucket_id,
        fps,
        augmentation_level,
        fit,
        seed,
        steps,
        min_cfg,
        max_cfg,
        curve,
        schedule,
        sampler,
        next_cfg,
        anchor,
        next_augmentation,
        token,
        candidates,
        candidate_until,
        close,
        close_method,
        on_cancel,
        end_image=None,
        begin=None,
        loop_repair=0.0,
        anchor_to="chunk",
    ) -> io.NodeOutput:
        preset, notes = trained.of_video(vae, clip_vision)
        way = long.plan(seconds, fps or preset.fps, frames or preset.frames, closed=close != "open")
        sampling = sampled(preset, (seed, steps, schedule, sampler), (min_cfg, max_cfg, curve), next_cfg)
        chain = chained(next_augmentation, token, candidates, candidate_until, (anchor, anchor_to), on_cancel)
        ending = long_video.closing(preset, close, close_method, way.t, sampling)
        recipe = long_video.Recipe(**sampling, **chain, close=ending)
        numbers = encoders.Numbers(motion_bucket_id, fps or preset.fps, augmentation_level)
        look = (width or preset.width, height or preset.height, fit)
        seen = ((clip_vision, vae), (image, close, end_image), look, numbers)
        return finished(long_video.maker(model, *seen, recipe, way, loop_repair), begin, seconds, notes)


def finished(maker, begin, seconds, notes) -> io.NodeOutput:
    z = maker.run(None if begin is None else convert.latent(begin).cpu())
    told, fps = maker.told(seconds)
    shown = (told.text(), fps, convert.drawn(told.chart()))
    return io.NodeOutput({"samples": z}, *shown, ui=say([*notes, *told.told, *told.warnings()]))


def sampled(preset, run, guidance, next_cfg) -> dict:
    """What every chunk is sampled with."""
    seed, steps, schedule, sampler = run
    convert.check_finite(next_cfg=next_cfg)
    steps, schedule, sampler = widgets.chosen(preset, steps=steps, schedule=schedule, sampler=sampler)
    scales = widgets.frame_scales(preset, *guidance)
    later = next_cfg or min(float(scales(2).max()), 2.0)  # strong guidance adds up
    return {
        "sigmas": widgets.noise_levels(schedule, steps),
        "sampler": sampler,
        "scales": scales,
        "next_scales": lambda t: torch.full((t,), later),
        "seed": seed,
    }


def chained(next_augmentation, token, candidates, candidate_until, anchor, on_cancel) -> dict:
    strength, to = anchor
    convert.check_finite(
        next_augmentation=next_augmentation, candidate_until=candidate_until, anchor=strength
    )
    names = ("next_augmentation", "token", "candidates", "candidate_until", "strength", "to", "keep")
    keep = on_cancel == "keep"
    return dict(zip(names, (next_augmentation, token, candidates, candidate_until, strength, to, keep)))


def _seconds_input():
    return io.Float.Input(
        "seconds",
        default=6.0,
        min=0.5,
        max=600.0,
        step=0.5,
        tooltip="Length in seconds. Every chunk takes as long as a clip and adds a frame less.",
    )


def _sampling_inputs():
    return [
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=0xFFFF_FFFF_FFFF_FFFF,
            control_after_generate=True,
            tooltip="Which noise the chunks start from. The same seed and a longer video begin alike.",
        ),
        widgets.steps_input(),
        *widgets.guidance_inputs(),
        widgets.schedule_input(),
        widgets.sampler_input(),
    ]


def _chain_inputs():
    return [
        io.Float.Input(
            "next_cfg",
            default=0.0,
            min=0.0,
            max=10.0,
            step=0.1,
            tooltip="Guidance scale of every chunk but the first, the same on all frames, no unit. 0: that "
            "of the first, at most 2. Lower drifts less.",
        ),
        inputs.anchor_input(),
        io.Float.Input(
            "next_augmentation",
            default=0.05,
            min=0.0,
            max=0.2,
            step=0.01,
            tooltip="Noise on the frame that a chunk goes on from, standard deviation where white is 1 and "
            "black is -1. More lets the model mend its own errors, and remember less.",
        ),
        io.Combo.Input(
            "token",
            options=["last", "photo"],
            default="last",
            tooltip="What the image encoder sees in later chunks. last: their own first frame, as trained; "
            "photo: the photo, which keeps the subject and slows a change of scene.",
        ),
    ]


def _search_inputs():
    return [
        io.Int.Input(
            "candidates",
            default=1,
            min=1,
            max=8,
            tooltip="Number of beginnings tried for each later chunk; the one that goes on with the motion "
            "best is finished. 3 joins more smoothly, for more time.",
        ),
        io.Float.Input(
            "candidate_until",
            default=20.0,
            min=1.0,
            max=200.0,
            step=1.0,
            advanced=True,
            tooltip="Noise level down to which they are tried, standard deviation in latent units; lower is "
            "surer and slower.",
        ),
    ]


def _end_inputs():
    return [
        io.Combo.Input(
            "close",
            options=long_video.ENDS,
            default="open",
            tooltip="open: ends where it ends; loop: the last chunk returns to the photo, and the doubled "
            "frame is left out; picture: it ends at end_image. Closed ends take whole chunks; the fps output "
            "keeps the length.",
        ),
        io.Combo.Input(
            "close_method",
            options=list(METHODS),
            default="vibid",
            tooltip="How a closed end is made, as in Between Pictures. For a model that can only move one "
            "way use forward.",
        ),
        io.Combo.Input(
            "on_cancel",
            options=["stop", "keep"],
            default="stop",
            tooltip="What cancelling does. stop: gives nothing; keep: the chunks that are finished go on to "
            "the next node. Save them with Save Latent and wire them into begin to continue.",
        ),
        io.Image.Input("end_image", optional=True, tooltip="The last frame, for close picture."),
        io.Latent.Input(
            "begin",
            optional=True,
            tooltip="The beginning of the same video, made with the same values: its whole chunks are kept.",
        ),
        inputs.repair_input(),
        inputs.anchor_to_input(),
    ]
