"""A guide clip that any deterministic sampler follows: a hold on the MODEL, and where sampling starts."""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from comfy_api.latest import io
from torch import Tensor

from ..svd_core.frames.filters import gaussian, smooth
from ..svd_core.sampling.noise_levels import karras_share
from . import convert
from .host import hold as host_hold
from .host import trained
from .validate import verdict

FITS = ["crop", "pad", "stretch"]


@dataclass(frozen=True)
class Levels:
    weak: float  # noise level at which sampling starts: above it nothing of the clip's layout is decided
    strong: float  # noise level down to which the clip is held


ADHERENCE = {"loose": Levels(120.0, 45.0), "follow": Levels(75.0, 31.0), "strict": Levels(75.0, 5.0)}
# The embedded checkpoint decides its layout far lower. Each name holds a step longer at its six steps:
# 75, 12.1, 4.48, 1.38 for loose, 0.418 for follow, 0.079 for strict.
OPEN = Levels(float("inf"), 0.0)  # while it is not known which of these a model takes
NANO = {"loose": Levels(75.0, 1.0), "follow": Levels(75.0, 0.3), "strict": Levels(75.0, 0.05)}


class PureSVDFollow(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDFollow",
            display_name="Follow Clip (SVD)",
            category="video/svd/control",
            description="Make the video move as a guide clip does: where the mask is white the clip is held "
            "while the layout is decided, then let go, so that the model redraws it in its own detail.",
            search_aliases=[
                "svd",
                "time to move",
                "motion control",
                "guide video",
                "vid2vid",
                "drag",
                "camera",
            ],
            inputs=[
                *_socket_inputs(),
                io.Combo.Input(
                    "adherence",
                    options=list(ADHERENCE),
                    default="follow",
                    tooltip="How closely the clip is followed. loose: its layout, the model chooses the "
                    "rest; follow: the middle; strict: down to its detail.",
                ),
                *_level_inputs(),
                *_fit_inputs(),
            ],
            outputs=[
                io.Model.Output(
                    display_name="model", tooltip="The model that holds the clip, for any sampler."
                ),
                io.Latent.Output(
                    display_name="latent",
                    tooltip="The clip's latent, which says at which noise level to start.",
                ),
                io.Float.Output(
                    display_name="denoise",
                    tooltip="The same for KSampler's denoise, with the scheduler karras.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, weak_level=None, strong_level=None) -> bool | str:
        return verdict(cls, partial(chosen, OPEN), weak_level=weak_level, strong_level=strong_level)

    @classmethod
    def execute(
        cls, model, vae, images, latent, adherence, weak_level, strong_level, feather, fit, mask=None
    ) -> io.NodeOutput:
        names = NANO if trained.of_model(model)[0].name == "svd_nano" else ADHERENCE
        levels = chosen(names[adherence], weak_level, strong_level)
        t, _, h, w = convert.latent(latent).shape
        clip = convert.pixels(images)
        if len(clip) != t:
            raise ValueError(
                f"the guide clip has {len(clip)} frames, the latent {t}; give both the same number of frames"
            )
        size = (convert.GRID * w, convert.GRID * h)
        m = torch.ones(t, 1, h, w)
        if mask is not None:
            m = convert.mask(mask, t, *clip.shape[-2:], of="guide clip")
            m = to_latent(convert.fit(m * 2 - 1, *size, fit).add(1).div(2).clamp(0, 1), feather)
        elif fit == "pad":
            m = to_latent(convert.fit(torch.ones(t, 1, *clip.shape[-2:]), *size, fit).clamp(0, 1), feather)
        z = vae.encode(convert.image(convert.fit(clip, *size, fit)))
        held = host_hold.patch(model, z, m, levels.strong)
        start = {**latent, "samples": z, "start_level": levels.weak}
        return io.NodeOutput(held, start, karras_share(levels.weak))


def _socket_inputs():
    return [
        io.Model.Input(
            "model", tooltip="An SVD model. It is patched on a clone; chains with LoRA and others."
        ),
        io.Vae.Input("vae", tooltip="The VAE of the video checkpoint."),
        io.Image.Input(
            "images",
            tooltip="The guide clip, from Move Camera over Photo, Drag over Photo or any video.",
        ),
        io.Latent.Input("latent", tooltip="The empty clip from Image to Video: size and number of frames."),
    ]


def _level_inputs():
    return [
        io.Float.Input(
            "weak_level",
            default=-1.0,
            min=-1.0,
            max=700.0,
            step=0.1,
            round=False,
            advanced=True,
            tooltip="Noise level at which sampling starts, standard deviation in latent units; -1 takes the "
            "one of adherence (120, 75, 75), the model was trained up to 700. Higher lets more than the mask "
            "change.",
        ),
        io.Float.Input(
            "strong_level",
            default=-1.0,
            min=-1.0,
            max=700.0,
            step=0.1,
            round=False,
            advanced=True,
            tooltip="Noise level down to which the clip is held, standard deviation in latent units; -1 "
            "takes the one of adherence (45, 31, 5), 0 keeps it to the end. Trained: 0.002 to 700.",
        ),
        io.Int.Input(
            "feather",
            default=0,
            min=0,
            max=256,
            advanced=True,
            tooltip="Width of the mask's soft edge in pixels; 0 is hard, 8 pixels of the video are the "
            "finest it knows.",
        ),
    ]


def _fit_inputs():
    return [
        io.Combo.Input(
            "fit",
            options=FITS,
            default="crop",
            tooltip="How the clip fills the frame; the same as in Image to Video. crop: cut the sides; pad: "
            "black bars; stretch: distort.",
        ),
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip="White where the clip is held, one mask or one per frame; without it everywhere.",
        ),
    ]


def chosen(named: Levels, weak_level: float, strong_level: float) -> Levels:
    """The levels of a name, or those given instead."""
    convert.check_finite(weak_level=weak_level, strong_level=strong_level)
    levels = Levels(
        named.weak if weak_level < 0 else weak_level, named.strong if strong_level < 0 else strong_level
    )
    if not levels.strong < levels.weak:
        raise ValueError(
            f"strong_level {levels.strong:g} must lie below weak_level {levels.weak:g}, where sampling "
            "starts; lower it"
        )
    return levels


def to_latent(mask: Tensor, feather: int) -> Tensor:
    """t 1 H W -> t 1 h w: what at least half of a latent position's pixels say; with a feather their mean,
    blurred.
    """
    if feather:
        mask = smooth(mask, gaussian(feather / 2))
    share = F.avg_pool2d(mask, convert.GRID)
    return share if feather else (share >= 0.5).to(mask)
