"""A clip at another frame rate, with motion followed and cuts respected."""

from fractions import Fraction

from comfy_api.latest import io

from ..svd_core.frames.between import by_flow
from ..svd_core.frames.flow import QUALITIES
from ..svd_core.frames.grid import count, rate
from ..svd_core.frames.video import interpolate
from . import convert
from .host import between as host_between
from .host.progress import on_step
from .validate import verdict

FRAMES_FROM_ONE = 1000  # at most; more is a typo, and would run for days


def rates():
    """Inputs that say how many frames."""
    return [
        io.Float.Input(
            "source_fps",
            default=7.0,
            min=0.001,
            max=1000.0,
            step=0.001,
            tooltip="Frames per second of the clip as it is: the fps of Image to Video, 7 if that was left "
            "at 0.",
        ),
        io.Float.Input(
            "target_fps",
            default=24.0,
            min=0.001,
            max=1000.0,
            step=0.001,
            tooltip="Frames per second of the result. Below source_fps frames are left out.",
        ),
        io.Float.Input(
            "slow_motion",
            default=1.0,
            min=0.1,
            max=64.0,
            step=0.1,
            tooltip="How many times longer the result plays: 2 is half speed, 1 keeps the speed.",
        ),
    ]


def care():
    """Inputs that say how they are made."""
    return [
        io.Combo.Input(
            "quality",
            options=list(QUALITIES),
            default="balanced",
            tooltip="How carefully motion is followed; fast, balanced and best each take longer than the one "
            "before. Not used with interp_model.",
        ),
        io.Boolean.Input(
            "detect_cuts",
            default=True,
            tooltip="At a scene cut repeat a frame instead of blending two scenes.",
        ),
        io.Float.Input(
            "cut_threshold",
            default=0.5,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="Likeness of two neighbouring frames, 0 to 1, under which they count as a cut. Raise it "
            "when cuts are blended, lower it when fast motion is not interpolated.",
        ),
    ]


class PureSVDInterpolate(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDInterpolate",
            display_name="Interpolate Frames",
            category="video/svd",
            description="Give a clip any frame rate, also one that is not a multiple. New frames follow the "
            "motion without any model file; frames that fall on the new grid are passed through unchanged; "
            "scene cuts are never blended. Works on any video, generated or not.",
            search_aliases=["svd", "frame interpolation", "slow motion", "fps", "frame rate", "rife", "film"],
            inputs=[
                io.Image.Input("images", tooltip="One clip: the frames in order, of one size."),
                *rates(),
                *care(),
                io.Custom("INTERP_MODEL").Input(
                    "interp_model",
                    optional=True,
                    tooltip="A RIFE or FILM model from Load Frame Interpolation Model makes the new frames "
                    "instead; rate, cuts and unchanged frames work the same.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The frames at the new rate."),
                io.Float.Output(display_name="fps", tooltip="target_fps, for Create Video."),
            ],
        )

    @classmethod
    def validate_inputs(cls, source_fps=None, target_fps=None, slow_motion=None) -> bool | str:
        rates = {"source_fps": source_fps, "target_fps": target_fps, "slow_motion": slow_motion}
        return verdict(cls, grids, **rates)

    @classmethod
    def execute(
        cls,
        images,
        source_fps,
        target_fps,
        slow_motion,
        quality,
        detect_cuts,
        cut_threshold,
        interp_model=None,
    ) -> io.NodeOutput:
        convert.check_finite(cut_threshold=cut_threshold)
        convert.check_image(images)
        check_length(images, source_fps, target_fps, slow_motion)
        frames = interpolate(
            images.movedim(-1, 1),
            source_fps=source_fps,
            target_fps=target_fps,
            slow_motion=slow_motion,
            between=host_between.by_model(interp_model) if interp_model else by_flow(quality),
            cut_threshold=cut_threshold if detect_cuts else None,
            device=host_between.device(),
            on_step=on_step(),
        )
        return io.NodeOutput(frames.movedim(1, -1), float(target_fps))


def grids(source_fps, target_fps, slow_motion) -> tuple[Fraction, Fraction]:
    """Frames per second of the clip, and of the result at the clip's own speed; far more are refused."""
    source = rate("source_fps", source_fps)
    target = rate("target_fps", target_fps) * rate("slow_motion", slow_motion)
    if target > FRAMES_FROM_ONE * source:
        raise ValueError(
            f"the result would have {float(target / source):,.0f} frames for each one, at most "
            f"{FRAMES_FROM_ONE:,} are made; use a higher source_fps, or a lower target_fps or slow_motion"
        )
    return source, target


def check_length(images, source_fps, target_fps, slow_motion) -> None:
    """Refuse a result that nobody could wait for or keep, before it is begun."""
    source, target = grids(source_fps, target_fps, slow_motion)
    frames = count(len(images), source_fps=source, target_fps=target)
    needed, free = frames * images[0].numel() * images.element_size(), host_between.free_memory()
    if needed > free:
        raise ValueError(
            f"the result would have {frames:,} frames of {needed / 2**30:,.1f} GiB in all, "
            f"{free / 2**30:,.1f} GiB of memory are free; use fewer or smaller frames, or a lower target_fps "
            "or slow_motion"
        )


NODES = [PureSVDInterpolate]
