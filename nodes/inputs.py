"""Inputs that say what a video shows, shared by the nodes that take photos."""

from comfy_api.latest import io

from ..svd_core.control.anchor import HELD_TO
from . import convert
from .validate import first, verdict

FITS = ["crop", "pad", "stretch", "nearest"]
LARGEST = 4096  # pixels that can be entered; a wired number may be larger
TRAINED = "0 takes the checkpoint's own"


def size_inputs():
    return [
        io.Int.Input(
            "width",
            default=0,
            min=0,
            max=LARGEST,
            step=8,
            tooltip=f"Width of the video in pixels, a multiple of 8; {TRAINED} (1024 for svd and svd_xt).",
        ),
        io.Int.Input(
            "height",
            default=0,
            min=0,
            max=LARGEST,
            step=8,
            tooltip=f"Height of the video in pixels, a multiple of 8; {TRAINED} (576 for svd and svd_xt).",
        ),
        io.Int.Input(
            "frames",
            default=0,
            min=0,
            max=1024,
            tooltip=(
                f"Length in frames; {TRAINED} (14 for svd, 25 for svd_xt). Longer clips drift from the photo."
            ),
        ),
    ]


FINE = 2 * convert.GRID  # a side that passes


def sides(node: type, width: object, height: object) -> bool | str:
    """What `validate_inputs` says of the two sides; 0 is the checkpoint's own."""
    return first(
        verdict(node, lambda width: convert.check_size(width or FINE, FINE), width=width),
        verdict(node, lambda height: convert.check_size(FINE, height or FINE), height=height),
    )


class Sized:
    """A node with the widgets of `size_inputs`."""

    @classmethod
    def validate_inputs(cls, width=None, height=None) -> bool | str:
        return sides(cls, width, height)


def model_inputs():
    return [
        io.Model.Input("model", tooltip="An SVD model."),
        io.ClipVision.Input("clip_vision", tooltip="The image encoder of the video checkpoint."),
        io.Vae.Input("vae", tooltip="The VAE of the video checkpoint; it also knows the trained sizes."),
    ]


def motion_inputs():
    return [
        io.Int.Input(
            "motion_bucket_id",
            default=127,
            min=0,
            max=1023,
            tooltip="Amount of motion to ask for, no unit: higher is more. 127 is the default of training, "
            "above 255 was never trained.",
        ),
        io.Int.Input(
            "fps",
            default=0,
            min=0,
            max=240,
            tooltip=f"Frames per second the motion is meant for; {TRAINED} (7). Lower means larger steps "
            "between frames. The model is told fps - 1; meant for 6 to 31. The playback speed is set in "
            "Create Video.",
        ),
        io.Float.Input(
            "augmentation_level",
            default=0.02,
            min=0.0,
            max=10.0,
            step=0.01,
            round=0.001,
            tooltip="Noise on the encoded photo, standard deviation where white is 1 and black is -1. "
            "Reference 0.02, trained about 0.02 to 0.14; more lets the video leave the photo further.",
        ),
    ]


def fit_input():
    return io.Combo.Input(
        "fit",
        options=FITS,
        default="crop",
        tooltip="How the photo fills the frame. crop: cut the sides; pad: black bars; stretch: distort; "
        "nearest: crop to the nearest of landscape, portrait and square at the trained area.",
    )


def repair_input():
    return io.Float.Input(
        "loop_repair",
        default=0.0,
        min=0.0,
        max=10.0,
        step=0.5,
        optional=True,
        advanced=True,
        tooltip="Noise level at which frames around a loop's seam are sampled anew, standard deviation "
        "in latent units; 0 leaves them. 2 to 5 evens out a turn at the seam; the first picture may change. "
        "Where it changes by more than a quarter, or nothing gets better, the loop stays as it was.",
    )


def anchor_input():
    return io.Float.Input(
        "anchor",
        default=0.7,
        min=0.0,
        max=1.0,
        step=0.05,
        tooltip="Share of a chunk's drift in colour and contrast that is taken back, 0 to 1, rising over "
        "its frames so that nothing jumps; at most what anchor_to says. 0 keeps a slow change of light.",
    )


def anchor_to_input():
    return io.Combo.Input(
        "anchor_to",
        options=list(HELD_TO),
        default="chunk",
        optional=True,
        tooltip="What colours and contrast are held to. chunk: each chunk to its own beginning, by at most "
        "10 %; start: each chunk to the first frame, by at most a third, so that nothing adds up. start "
        "drifts far less; chunk leaves more of a real change of light or of scene.",
    )
