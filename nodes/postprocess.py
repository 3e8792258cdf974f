"""Brightness and colour of a finished clip, its motion untouched."""

from comfy_api.latest import io

from ..svd_core.frames.color_lock import lock_color
from ..svd_core.frames.deflicker import deflicker
from . import convert
from .host.progress import on_step


class PureSVDDeflicker(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDDeflicker",
            display_name="Remove Flicker",
            category="video/svd",
            description="Take brightness and colour flicker out of a clip. The change of each channel is "
            "measured along the motion, so moving things do not count as flicker and edges stay where they "
            "are.",
            search_aliases=["svd", "deflicker", "flicker", "stabilize brightness"],
            inputs=[
                io.Image.Input("images", tooltip="One clip: the frames in order, of one size."),
                io.Float.Input(
                    "window",
                    default=24.0,
                    min=2.0,
                    max=1000.0,
                    step=1.0,
                    tooltip="Flicker up to this period, in frames, is removed; slower swings, fades and "
                    "steps stay.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Share of the flicker that is removed: 0 leaves the clip as it is, 1 removes "
                    "all.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The same frames, steady in brightness.")
            ],
        )

    @classmethod
    def execute(cls, images, window, strength) -> io.NodeOutput:
        frames = deflicker(
            convert.check_image(images).movedim(-1, 1), window=window, strength=strength, on_step=on_step()
        )
        return io.NodeOutput(frames.movedim(1, -1))


class PureSVDColorLock(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDColorLock",
            display_name="Lock Video Color",
            category="video/svd",
            description="Pin the colours of every frame, their mean and spread, to a reference picture or to "
            "the beginning of the clip, so that a long clip does not drift in colour.",
            search_aliases=["svd", "color match", "color drift", "color transfer"],
            inputs=[
                io.Image.Input("images", tooltip="One clip: the frames in order, of one size."),
                io.Int.Input(
                    "anchor_frames",
                    default=1,
                    min=1,
                    max=1000,
                    tooltip="Number of first frames whose colours are the goal when no reference is wired "
                    "in.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Share of the difference that is removed: 0 leaves the colours as they are, 1 "
                    "pins them to the goal.",
                ),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="A picture of any size whose colours are the goal, for example the input still; "
                    "several pictures: one for each clip of a batch.",
                ),
            ],
            outputs=[io.Image.Output(display_name="images", tooltip="The same frames with pinned colours.")],
        )

    @classmethod
    def execute(cls, images, anchor_frames, strength, reference=None) -> io.NodeOutput:
        frames = lock_color(
            convert.check_image(images).movedim(-1, 1),
            reference=None if reference is None else convert.check_image(reference).movedim(-1, 1),
            anchor_frames=anchor_frames,
            strength=strength,
            on_step=on_step(),
        )
        return io.NodeOutput(frames.movedim(1, -1))


NODES = [PureSVDDeflicker, PureSVDColorLock]
