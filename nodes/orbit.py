"""A picture of an object to what SV3D is told of an orbit around it."""

import re

import torch
from comfy_api.latest import io
from torch import Tensor

from ..svd_core.conditioning import orbit as core_orbit
from . import convert
from .host import encoders
from .validate import first, offered, verdict

STATIC, WAVE, LIST = "static", "wave", "list"
DIRECTIONS = {"anticlockwise": 1, "clockwise": -1}
AUGMENTATION = 1e-5  # trained


class PureSVDImageToOrbit(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDImageToOrbit",
            display_name="Image to Orbit (SV3D)",
            category="video/svd",
            description="Describe an object to SV3D, which films it from all around: cut out, centred on "
            "white and seen from the angles the model was trained on. The last frame is the view that was "
            "given.",
            search_aliases=["sv3d", "orbit", "turntable", "3d", "multi view", "novel view"],
            inputs=[
                io.ClipVision.Input("clip_vision", tooltip="The image encoder of the SV3D checkpoint."),
                io.Vae.Input("vae", tooltip="The VAE of the SV3D checkpoint."),
                io.Image.Input(
                    "image", tooltip="One picture of one object; alpha, if there is any, cuts it out."
                ),
                *_place_inputs(),
                *_orbit_inputs(),
                *_list_inputs(),
                *_seed_inputs(),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The object and the angles."),
                io.Conditioning.Output(display_name="negative", tooltip="The angles without the object."),
                io.Latent.Output(display_name="latent", tooltip="An empty clip of as many frames."),
                io.Image.Output(
                    display_name="photo", tooltip="The object on white, as the last frame shows it."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, size=None, orbit=None, azimuths=None, elevations=None) -> bool | str:
        angles = {"orbit": orbit, "azimuths": azimuths, "elevations": elevations}
        return first(
            verdict(cls, lambda size: convert.check_size(size, size), size=size),
            verdict(cls, check_list, **angles),
        )

    @classmethod
    def execute(
        cls,
        clip_vision,
        vae,
        image,
        ratio,
        size,
        frames,
        orbit,
        elevation,
        amplitude,
        waves,
        direction,
        azimuths,
        elevations,
        seed,
        compatibility,
        mask=None,
    ) -> io.NodeOutput:
        offered(cls, orbit=orbit)
        convert.check_finite(ratio=ratio, elevation=elevation, amplitude=amplitude)
        convert.check_size(size, size)
        path = chosen(orbit, frames, elevation, amplitude, waves, DIRECTIONS[direction], azimuths, elevations)
        if compatibility == "native":
            x = convert.pixels(image)
            encoders.frame(x, size, size, "crop")  # refuses a photo too narrow to be cropped
            view = convert.image(convert.fit(x, size, size, "crop"))
            pair = encoders.native_orbit(
                clip_vision, vae, convert.rgb(image).float(), size, frames, elevation
            )
            return io.NodeOutput(*pair, convert.empty_latent(frames, size, size), view)
        photo = convert.one_photo(image)
        alpha = cut_out(image, mask, photo.shape[-2], photo.shape[-1])
        x = core_orbit.centred(photo, alpha, ratio=ratio, side=size) * 2 - 1
        pair = encoders.orbit(clip_vision, vae, x, path, AUGMENTATION, seed)
        return io.NodeOutput(*pair, convert.empty_latent(len(path.azimuths), size, size), convert.image(x))


def chosen(kind, frames, elevation, amplitude, waves, direction, azimuths, elevations) -> core_orbit.Orbit:
    """The orbit that the widgets describe."""
    if kind == LIST:
        return core_orbit.listed(
            numbers("azimuths", azimuths), numbers("elevations", elevations) or [elevation]
        )
    if kind == WAVE:
        shape = {"elevation": elevation, "amplitude": amplitude, "waves": waves}
        return core_orbit.wave(frames, **shape, direction=direction)
    return core_orbit.static(frames, elevation=elevation, direction=direction)


def check_list(orbit, azimuths, elevations) -> None:
    if orbit == LIST:
        chosen(LIST, 0, 0.0, 0.0, 1, 1, azimuths, elevations)


def numbers(name: str, text: str) -> list[float]:
    """Numbers with commas, spaces or lines between them."""
    words = re.split(r"[\s,;]+", text.strip("[] \n\t"))
    try:
        return [float(word) for word in words if word]
    except ValueError:
        raise ValueError(
            f"{name} holds {text.strip()[:40]!r}; write numbers such as 90, 180, 270, 0"
        ) from None


def cut_out(image: Tensor, mask: Tensor | None, height: int, width: int) -> Tensor:
    """Alpha 1 1 H W: the mask, else the picture's own, else all of it."""
    if mask is not None:
        return convert.mask(mask, 1, height, width, of="image")
    if image.shape[-1] in (2, 4):
        return image[..., -1:].float().cpu().movedim(-1, 1).clamp(0, 1)
    return torch.ones(1, 1, height, width)


def _place_inputs():
    return [
        io.Float.Input(
            "ratio",
            default=core_orbit.FILLED,
            min=0.0,
            max=1.0,
            step=0.001,
            round=False,
            tooltip="Share of the picture's side that the object fills; 0 keeps its size. Trained on about "
            "0.917.",
        ),
        io.Int.Input(
            "size",
            default=core_orbit.SIDE,
            min=64,
            max=2048,
            step=8,
            tooltip="Width and height of the video in pixels, a multiple of 8. Trained: 576.",
        ),
        io.Int.Input(
            "frames",
            default=core_orbit.FRAMES,
            min=1,
            max=1024,
            tooltip="Number of frames around the object; not used by list. Trained: 21.",
        ),
    ]


def _orbit_inputs():
    return [
        io.Combo.Input(
            "orbit",
            options=[STATIC, WAVE, LIST],
            default=STATIC,
            tooltip="static: once around at one height; wave: up and down on the way; list: the angles you "
            "write. Only SV3D_p knows heights and lists; SV3D_u always goes around once.",
        ),
        io.Float.Input(
            "elevation",
            default=core_orbit.ELEVATION,
            min=-90.0,
            max=90.0,
            step=1.0,
            tooltip="Height of the camera in degrees: 0 level with the object, 90 above it. Reference: 10.",
        ),
        io.Float.Input(
            "amplitude",
            default=15.0,
            min=0.0,
            max=90.0,
            step=1.0,
            tooltip="How far a wave goes up and down, in degrees.",
        ),
        io.Int.Input("waves", default=1, min=1, max=4, tooltip="Number of waves on the way around."),
        io.Combo.Input(
            "direction",
            options=list(DIRECTIONS),
            default="anticlockwise",
            tooltip="Which way the camera goes, seen from above.",
        ),
    ]


def _list_inputs():
    return [
        io.String.Input(
            "azimuths",
            default="",
            multiline=True,
            tooltip="For list: degrees around the object, one a frame, such as 90, 180, 270, 0; counted from "
            "the last, which is the given view.",
        ),
        io.String.Input(
            "elevations",
            default="",
            multiline=True,
            tooltip="For list: degrees of height, one a frame or one for all; nothing takes elevation.",
        ),
    ]


def _seed_inputs():
    return [
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=0xFFFF_FFFF_FFFF_FFFF,
            control_after_generate=True,
            tooltip="Which noise is put on the picture, far below what is visible. Sampling has its own "
            "seed.",
        ),
        io.Combo.Input(
            "compatibility",
            options=["reference", "native"],
            default="reference",
            tooltip="reference: as trained. native: the numbers of ComfyUI's own SV3D_Conditioning, which "
            "sees alpha and centre differently and counts the given view twice.",
        ),
        io.Mask.Input("mask", optional=True, tooltip="White is the object; invert the mask of Load Image."),
    ]
