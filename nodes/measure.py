"""What a clip does, in numbers and as a chart."""

from comfy_api.latest import io

from ..svd_core.models.image_encoder import preprocess
from ..svd_core.quality import chart, report
from ..svd_core.quality.measures import measure
from ..svd_core.quality.report import motion
from . import convert
from .host import encoders
from .host.progress import on_step


def time_inputs():
    return [
        io.Float.Input(
            "fps",
            default=7.0,
            min=0.001,
            max=1000.0,
            step=0.001,
            tooltip="Frames per second at which the clip plays; speeds are in picture widths per second.",
        ),
        io.Boolean.Input(
            "loop",
            default=False,
            tooltip="Measure the seam too, from the last frame to the first. A loop must not hold its first "
            "frame twice.",
        ),
    ]


class PureSVDMeasure(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDMeasure",
            display_name="Measure Video",
            category="video/svd",
            description="Say in numbers what a clip does: how fast it moves, camera and objects apart, and "
            "whether that is motion at all; flicker, unsteadiness, drift of light and colour, sharpness, "
            "cuts, the seam of a loop, closeness to the photo. Works on any video, generated or not.",
            search_aliases=["svd", "motion score", "quality", "speed", "flicker", "metrics", "optical flow"],
            inputs=[
                io.Image.Input("images", tooltip="One clip: the frames in order, of one size."),
                *time_inputs(),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="The photo that the clip was made from, of any size. Without it the clip is "
                    "compared with its own first frame.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="The image encoder of the video checkpoint: closeness to the photo is measured "
                    "by its eyes too, in the first, middle and last frame.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The same frames, unchanged."),
                io.String.Output(
                    display_name="report", tooltip="Every measure as JSON, with a summary in words."
                ),
                io.Image.Output(
                    display_name="chart", tooltip="The summary, and how the measures run over time."
                ),
                io.Float.Output(
                    display_name="motion",
                    tooltip="Speed in picture widths per second; 0 where what changes is not motion.",
                ),
            ],
        )

    @classmethod
    def execute(cls, images, fps, loop, reference=None, clip_vision=None) -> io.NodeOutput:
        convert.check_image(images)
        found = measure(
            images.movedim(-1, 1),
            fps=fps,
            loop=loop,
            reference=None if reference is None else convert.check_image(reference)[0].movedim(-1, 0),
            embed=None if clip_vision is None else encoder(clip_vision),
            on_step=on_step(),
        )
        drawn = convert.drawn(chart.draw(found))
        return io.NodeOutput(images, report.as_json(found), drawn, motion(found))


def encoder(clip_vision):
    """CLIP_VISION -> n 3 H W in [0, 1] to embeddings n e, preprocessed as the video model's own photo"""
    embed, size = encoders.image_encoder(clip_vision), clip_vision.image_size
    return lambda x: embed(preprocess(x * 2 - 1, size))


NODES = [PureSVDMeasure]
