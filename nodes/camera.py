"""A guide clip out of one photo by a camera move, and which of its pixels are known."""

import math
from functools import partial

import torch
from comfy_api.latest import io
from torch import Tensor

from ..svd_core.control import camera, parallax
from . import convert, widgets
from .host import room
from .validate import NOT_WIRED, first, verdict

MARGIN = 16  # pixels around what may move by itself
NEAR, FAR = "near is bright", "far is bright"


class PureSVDCameraMove(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDCameraMove",
            display_name="Move Camera over Photo",
            category="video/svd/control",
            description="Film a photo with a moving camera: the guide clip, and a mask of what the photo "
            "shows. Follow Clip makes a video that moves this way and invents the rest. Static locks the "
            "camera.",
            search_aliases=[
                "svd",
                "camera",
                "pan",
                "tilt",
                "zoom",
                "dolly",
                "orbit",
                "lock camera",
                "ken burns",
            ],
            inputs=[
                io.Image.Input("image", tooltip="One photo, the same that Image to Video is given."),
                io.Combo.Input(
                    "move",
                    options=list(camera.MOVES),
                    default="Pan Left",
                    tooltip="What the camera does. Pan shifts it, turn rotates it on the spot, dolly and "
                    "orbit move it through space and need depth; Static keeps it still.",
                ),
                *_amount_inputs(),
                *_look_inputs(),
                *_map_inputs(),
            ],
            outputs=[
                io.Image.Output(
                    display_name="images", tooltip="The guide clip; its first frame is the photo."
                ),
                io.Mask.Output(
                    display_name="mask", tooltip="White where the clip shows the photo, per frame."
                ),
                io.Image.Output(
                    display_name="photo",
                    tooltip="The first frame alone, for Image to Video; only overscan changes it.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, move="Static", amount=0.0, depth=NOT_WIRED) -> bool | str:
        return first(
            verdict(cls, partial(check_depth, wired=depth is None), move=move),
            verdict(cls, check_amount, move=move, amount=amount),
        )

    @classmethod
    def execute(
        cls,
        image,
        move,
        amount,
        frames,
        border,
        centre_x,
        centre_y,
        fov,
        depth_shows,
        easing=None,
        depth=None,
        moving=None,
    ) -> io.NodeOutput:
        check_amount(move, amount)
        convert.check_finite(centre_x=centre_x, centre_y=centre_y, fov=fov)
        photo = convert.one_photo(image)
        height, width = photo.shape[-2:]
        room.check(frames, height, width)
        if moving is not None:
            photo = torch.cat([photo, convert.mask(moving, 1, height, width, of="photo")], 1)
        by = travel(move, amount) * widgets.progress(easing, frames)
        kind = camera.MOVES[move].kind
        if kind in camera.NEEDS_DEPTH:
            check_depth(move, wired=depth is not None)
            distance = depth_map(depth, height, width, far=depth_shows == FAR)
            at = float(distance.min() if kind == "dolly" else distance.median())
            clip, mask = parallax.film(
                photo, distance, *parallax.poses(kind, by, at=at), fov=fov, border=border
            )
        else:
            size = {"width": width, "height": height}
            H = camera.homographies(kind, by, **size, centre=(centre_x, centre_y), fov=fov)
            clip, mask = camera.film(photo, H, border=border)
        if moving is not None:
            mask = mask * (1 - camera.dilate((clip[:, 3:] > 0.5).to(clip), MARGIN))
        images = clip[:, :3].movedim(1, -1).clamp(0, 1)
        return io.NodeOutput(images, mask[:, 0], images[:1])


def _amount_inputs():
    return [
        io.Float.Input(
            "amount",
            default=0.0,
            min=0.0,
            max=360.0,
            step=0.01,
            round=False,
            tooltip="How far over the whole clip, in the move's own unit; 0 takes the move's own. Pan: share "
            "of the side (0.15); zoom: times (1.15); clockwise 5, turn 8 or 5, orbit 10 degrees; dolly: "
            "share of the way to the nearest thing (0.15).",
        ),
        widgets.guide_frames_input(),
    ]


def _look_inputs():
    return [
        io.Combo.Input(
            "border",
            options=list(camera.BORDERS),
            default="generate",
            tooltip="What lies beyond the photo. generate: the model invents it; overscan: start from a crop "
            "so that nothing beyond is ever seen; replicate: the last row of pixels goes on.",
        ),
        io.Float.Input(
            "centre_x",
            default=0.5,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="What zoom and roll keep in place, as a share of the width: 0 is left, 1 is right.",
        ),
        io.Float.Input(
            "centre_y",
            default=0.5,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="The same as a share of the height: 0 is the top, 1 the bottom.",
        ),
        io.Float.Input(
            "fov",
            default=camera.FOV,
            min=20.0,
            max=100.0,
            step=1.0,
            advanced=True,
            tooltip="Field of view across the photo in degrees: 20 a long lens, 55 a common one, 100 a very "
            "wide one. For turn, dolly and orbit.",
        ),
    ]


def _map_inputs():
    return [
        io.Combo.Input(
            "depth_shows",
            options=[NEAR, FAR],
            default=NEAR,
            advanced=True,
            tooltip="How to read the depth map. near is bright: as most depth estimators draw it; far is "
            "bright: distances.",
        ),
        widgets.easing_input(),
        io.Image.Input(
            "depth",
            optional=True,
            tooltip="A depth map of the photo, from any depth node; needed by dolly and orbit.",
        ),
        io.Mask.Input(
            "moving",
            optional=True,
            tooltip="White: what may move by itself, such as a person in front of a locked camera. It is "
            "left out of the mask.",
        ),
    ]


def check_amount(move: str, amount: float) -> None:
    """An amount has the unit and the limits of its move."""
    if not isinstance(move, str) or move not in camera.MOVES:
        raise ValueError(f"move {move!r} is unknown; use one of {', '.join(camera.MOVES)}")
    kind = camera.MOVES[move].kind
    convert.check_finite(amount=amount)
    low, high = (1.0 if kind == "zoom" else 0.0), camera.LIMITS[kind]
    if kind != "lock" and amount and not low <= amount <= high:
        raise ValueError(
            f"amount {amount:g} is not one of {move}; use {low:g} to {high:g}, or 0 for its own "
            f"{camera.MOVES[move].amount:g}"
        )


def check_depth(move: str, *, wired: bool) -> None:
    if camera.MOVES[move].kind in camera.NEEDS_DEPTH and not wired:
        raise ValueError(
            f"{move} moves through space; wire a depth map of the photo into depth, or choose a turn or pan"
        )


def travel(move: str, amount: float) -> float:
    """The whole way of a move, signed, in the unit of the core: zoom in log scale."""
    chosen = camera.MOVES[move]
    size = amount or chosen.amount
    return chosen.sign * (math.log(size) if chosen.kind == "zoom" else size)


def depth_map(depth: Tensor, height: int, width: int, *, far: bool) -> Tensor:
    """IMAGE of depth -> distances 1 1 height width, the nearest 1"""
    convert.check_image(depth)
    grey = convert.mask(depth[:1].float().mean(-1), 1, height, width, of="photo", name="depth map")
    if float(grey.amax() - grey.amin()) < 1e-4:
        raise ValueError(
            "the depth map has one value everywhere, so nothing is near or far; use a real one, or a turn "
            "or pan"
        )
    return parallax.distance(1 - grey if far else grey)
