"""More motion from the same photo: conditioning and latent, changed before the sampler."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor

from ..svd_core.control import motion
from ..svd_core.control.motion import Start
from ..svd_core.models.vae import SCALE
from ..svd_core.sampling.noise_levels import SIGMA_MAX, karras_share
from . import convert, files
from .host import conditions
from .validate import offered, verdict

MEANS = ["photo colour", "photo", "statistics", "none"]
NO_FILE = "none"
ADVANCED: dict[str, bool] = {"optional": True, "advanced": True}


class PureSVDMotion(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDMotion",
            display_name="More Motion (SVD)",
            category="video/svd/control",
            description="Ask for more motion than the photo gives by itself: sampling starts at a lower "
            "noise level, where the model copies the photo less, and the motion bucket rises. Goes between "
            "Image to Video and any sampler.",
            search_aliases=["svd", "motion", "nothing moves", "motion bucket", "analytic init", "alg"],
            inputs=[
                io.Conditioning.Input("positive", tooltip="What Image to Video says about the photo."),
                io.Conditioning.Input("negative", tooltip="Its counterpart without the photo."),
                io.Latent.Input("latent", tooltip="The empty clip from Image to Video."),
                io.Float.Input(
                    "strength",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How much motion is added, share from 0 (nothing is touched) to 1. Trained: 0. "
                    "The more, the further the video may leave the photo.",
                ),
                *_start_inputs(),
                *_blur_inputs(),
                *_early_inputs(),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The photo, told for more motion."),
                io.Conditioning.Output(display_name="negative", tooltip="The same without it."),
                io.Latent.Output(
                    display_name="latent",
                    tooltip="The clip, which says at which noise level to start and from which mean.",
                ),
                io.Float.Output(
                    display_name="denoise",
                    tooltip="The same start for KSampler's denoise, with the scheduler karras.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, mean=MEANS[0], statistics_name=NO_FILE) -> bool | str:
        return verdict(cls, files.check_statistics, mean=mean, statistics_name=statistics_name)

    @classmethod
    def fingerprint_inputs(
        cls,
        positive,
        negative,
        latent,
        strength,
        start_level=0.0,
        raise_bucket=True,
        mean=MEANS[0],
        statistics_name=NO_FILE,
        blur=0.0,
        blur_factor=0.4,
        frame0_sharp=True,
        until_level=50.0,
        early_positive=None,
        early_negative=None,
    ):
        return "" if statistics_name == NO_FILE else files.stamp(files.statistics_path(statistics_name))

    @classmethod
    def execute(
        cls,
        positive,
        negative,
        latent,
        strength,
        start_level=0.0,
        raise_bucket=True,
        mean=MEANS[0],
        statistics_name=NO_FILE,
        blur=0.0,
        blur_factor=0.4,
        frame0_sharp=True,
        until_level=50.0,
        early_positive=None,
        early_negative=None,
    ) -> io.NodeOutput:
        offered(cls, mean=mean, statistics_name=statistics_name)
        convert.conditioning("positive", positive)
        convert.conditioning("negative", negative)
        convert.check_finite(strength=strength, start_level=start_level, until_level=until_level)
        convert.check_finite(blur=blur, blur_factor=blur_factor)
        z = convert.latent(latent)
        if early_positive is not None:
            convert.conditioning("early_positive", early_positive)
        early = early_positive
        if blur > 0:
            options = {"factor": blur_factor, "strength": blur, "keep_first": frame0_sharp}
            early = conditions.with_photo_blurred(early or positive, len(z), **options)
        if early_negative is not None:
            convert.conditioning("early_negative", early_negative)
        told = [
            entries if first is None else conditions.switched(first, entries, until_level)
            for entries, first in ((positive, early), (negative, early_negative))
        ]
        if raise_bucket and strength > 0:
            told = [conditions.with_bucket_raised(entries, strength) for entries in told]
        level = min(start_level or motion.start_level(strength), SIGMA_MAX)
        if level < SIGMA_MAX:
            latent = lowered(latent, level, start_of(mean, statistics_name, positive, z))
        return io.NodeOutput(*told, latent, karras_share(level))


def lowered(latent: dict, level: float, start: Start) -> dict:
    """The LATENT that says where its sampling starts."""
    said = {"start_level": level, "start_variance": start.variance}
    return {**latent, "samples": start.mean / SCALE, **said}


def start_of(mean: str, statistics_name: str, positive: list, z: Tensor) -> Start:
    """The mean and variance that sampling of latents like z starts from."""
    t, shape = len(z), tuple(z.shape)
    if mean == "none":
        return Start(torch.zeros(shape))
    if mean == "statistics":
        return motion.read_statistics(files.statistics_path(statistics_name), shape)
    photo = conditions.photo(positive)
    if mean == "photo colour":
        found = motion.colour(photo, t)
        return Start(found.mean[..., :1, :1].expand(shape).clone(), found.variance)
    if photo.shape[-2:] != z.shape[-2:]:
        (h, w), (H, W) = photo.shape[-2:], z.shape[-2:]
        raise ValueError(
            f"the photo was described for {8 * w}x{8 * h} pixels, the latent is {8 * W}x{8 * H}; use the "
            "latent of the same Image to Video, or the mean photo colour"
        )
    return motion.photo(photo, t)


def _start_inputs():
    return [
        io.Float.Input(
            "start_level",
            default=0.0,
            min=0.0,
            max=700.0,
            step=1.0,
            round=False,
            **ADVANCED,
            tooltip="Noise level at which sampling starts, standard deviation in latent units. 0: by "
            "strength, even in the logarithm from 700 down to 50; 700: as trained. Lower gives more motion, "
            "too low loses the picture.",
        ),
        io.Boolean.Input(
            "raise_bucket",
            default=True,
            **ADVANCED,
            tooltip="Whether strength also moves the motion bucket towards 255. Turn it off for svd_xt_1_1, "
            "which was trained at 127 only.",
        ),
        io.Combo.Input(
            "mean",
            options=MEANS,
            default=MEANS[0],
            **ADVANCED,
            tooltip="What a lower start is centred on. photo colour: the photo's average colour, so that "
            "brightness does not drift; photo: the photo itself, which holds motion back; statistics: a file "
            "made from training clips; none: zero.",
        ),
        io.Combo.Input(
            "statistics_name",
            options=[NO_FILE, *files.statistics()],
            default=NO_FILE,
            **ADVANCED,
            tooltip=f"For the mean statistics: {files.STATISTICS_WHERE}.",
        ),
    ]


def _blur_inputs():
    return [
        io.Float.Input(
            "blur",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.05,
            **ADVANCED,
            tooltip="How much the photo is blurred in the condition at high noise (ALG), share from 0 (not "
            "at all, as trained) to 1 (down to blur_factor).",
        ),
        io.Float.Input(
            "blur_factor",
            default=0.4,
            min=0.05,
            max=1.0,
            step=0.05,
            **ADVANCED,
            tooltip="Size to which blur 1 shrinks the encoded photo before it is enlarged again, share of "
            "its width. Trained: 1, no blur.",
        ),
        io.Boolean.Input(
            "frame0_sharp",
            default=True,
            **ADVANCED,
            tooltip="Whether the first frame keeps the sharp photo while the others see the blurred one.",
        ),
    ]


def _early_inputs():
    return [
        io.Float.Input(
            "until_level",
            default=50.0,
            min=0.0,
            max=700.0,
            step=1.0,
            round=False,
            **ADVANCED,
            tooltip="Noise level down to which blur and the early conditioning hold, standard deviation in "
            "latent units. Trained levels reach from 700 to 0.002.",
        ),
        io.Conditioning.Input(
            "early_positive",
            optional=True,
            tooltip="Conditioning for the levels above until_level, from another Image to Video with more "
            "augmentation_level (0.14) or motion. Empty: the same as below.",
        ),
        io.Conditioning.Input("early_negative", optional=True, tooltip="Its counterpart without the photo."),
    ]
