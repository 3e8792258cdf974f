"""One knob over a range of values, and what comes of it on one labelled sheet."""

from functools import partial

from comfy_api.latest import io

from ..svd_core.quality import sheet, sweep
from . import convert
from .host.progress import on_step
from .validate import verdict

ANY = {"min": -1e9, "max": 1e9, "step": 0.01, "round": False}


def range_inputs():
    return [
        io.String.Input(
            "name",
            default="value",
            tooltip="What the labels call the knob, for example motion_bucket_id.",
        ),
        io.Float.Input("first", default=1.0, **ANY, tooltip="First value; no unit but the knob's own."),
        io.Float.Input("last", default=255.0, **ANY, tooltip="Last value; no unit but the knob's own."),
        io.Int.Input(
            "count",
            default=5,
            min=1,
            max=sweep.MOST,
            tooltip="Number of values: what follows runs as many times.",
        ),
        io.Combo.Input(
            "spacing",
            options=list(sweep.SPACINGS),
            default=sweep.SPACINGS[0],
            tooltip="even: the same difference from value to value; even ratios: the same factor, "
            "for noise levels and others that span decades.",
        ),
        io.Boolean.Input(
            "whole_numbers",
            default=False,
            tooltip="Round every value to a whole number, so that the labels say what a whole-number "
            "knob gets.",
        ),
        io.String.Input(
            "own_values",
            default="",
            optional=True,
            advanced=True,
            tooltip="Values of your own, separated by commas, in place of the range.",
        ),
    ]


class PureSVDSweep(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDSweep",
            display_name="Sweep Values",
            category="video/svd",
            description="Run what follows once for each of several values of one knob: wire it into any "
            "number, such as motion_bucket_id or max_cfg, and compare the results with Contact Sheet.",
            search_aliases=["svd", "xy plot", "grid", "compare", "range", "parameter", "batch"],
            inputs=range_inputs(),
            outputs=[
                io.Float.Output(
                    display_name="value", is_output_list=True, tooltip="The values, one after the other."
                ),
                io.Int.Output(
                    display_name="integer",
                    is_output_list=True,
                    tooltip="The same rounded, for knobs that take whole numbers.",
                ),
                io.String.Output(
                    display_name="label",
                    is_output_list=True,
                    tooltip="Name and value, for the labels of Contact Sheet.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, first=None, last=None, spacing=None, own_values="") -> bool | str:
        asked = {"first": first, "last": last, "spacing": spacing, "own_values": own_values}
        return verdict(cls, partial(asked_for, count=2), **asked)

    @classmethod
    def execute(cls, name, first, last, count, spacing, whole_numbers, own_values="") -> io.NodeOutput:
        values = asked_for(first, last, count, spacing, own_values)
        rounded = [round(value) for value in values]
        if whole_numbers:
            values = [float(value) for value in rounded]
        return io.NodeOutput(values, rounded, [sweep.label(name, value) for value in values])


def asked_for(first, last, count, spacing, own_values) -> list[float]:
    """The values of the widgets"""
    if own_values.strip(" \t\r\n,;"):
        return sweep.listed(own_values)
    return sweep.spread(first, last, count, spacing=spacing)


def sheet_inputs():
    return [
        io.Image.Input("images", tooltip="The clips, or single pictures: all that come in, in their order."),
        io.Int.Input(
            "width",
            default=256,
            min=0,
            max=2048,
            step=8,
            tooltip="Width of one picture in pixels; 0 takes the first clip's own.",
        ),
        io.Int.Input(
            "columns",
            default=0,
            min=0,
            max=64,
            tooltip="Number of clips in a row where all play at once; 0 takes about as many columns as rows.",
        ),
        io.Int.Input(
            "frames",
            default=4,
            min=1,
            max=64,
            tooltip="Number of frames of each clip on the still, from the first to the last at even times.",
        ),
        io.String.Input(
            "labels",
            optional=True,
            force_input=True,
            tooltip="A text for each clip, such as label of Sweep Values. Empty: they are numbered.",
        ),
        io.Float.Input(
            "numbers",
            default=0.0,
            optional=True,
            force_input=True,
            tooltip="A number for each clip, no unit, that is written behind its label, such as motion of "
            "Measure Video.",
            **ANY,
        ),
    ]


class PureSVDContactSheet(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDContactSheet",
            display_name="Contact Sheet",
            category="video/svd",
            description="Put several clips beside each other under their labels: as a still with a row for "
            "each clip, and as one clip in which all play at once.",
            search_aliases=["svd", "grid", "compare", "side by side", "xy plot", "montage"],
            is_input_list=True,
            inputs=sheet_inputs(),
            outputs=[
                io.Image.Output(
                    display_name="sheet", tooltip="The still: a row for each clip, time to the right."
                ),
                io.Image.Output(display_name="clip", tooltip="All clips playing at once, for Create Video."),
            ],
        )

    @classmethod
    def execute(cls, images, width, columns, frames, labels=None, numbers=None) -> io.NodeOutput:
        clips = [convert.check_image(clip) for clip in images]
        words = written(len(clips), labels, numbers)
        still = sheet.sheet(clips, words, frames=frames[0], width=width[0], columns=columns[0])
        moving = sheet.playing(clips, words, width=width[0], columns=columns[0], on_step=on_step())
        return io.NodeOutput(still, moving)


def written(count, labels, numbers):
    """What stands under each of so many clips"""
    words = [str(i + 1) for i in range(count)] if labels is None else labels
    if numbers is None:
        return words
    if len(numbers) != count:
        raise ValueError(
            f"there are {len(numbers)} numbers for {count} clips; wire in one for each clip, or none"
        )
    return [f"{text}: {number:.4g}" for text, number in zip(words, numbers)]


NODES = [PureSVDSweep, PureSVDContactSheet]
