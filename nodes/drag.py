"""Parts of a photo moved along drawn paths: the guide clip, its mask, and the paths for other nodes."""

from functools import partial

import torch
from comfy_api.latest import io
from torch import Tensor

from ..svd_core.control import moved_clip
from ..svd_core.control import paths as core_paths
from . import convert, files, widgets
from .host import room
from .validate import NOT_WIRED, verdict

MOST_TRACKS = 100
KEYS = ("track_path", "track_visibility")


class PureSVDDrag(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDDrag",
            display_name="Drag over Photo",
            category="video/svd/control",
            description="Draw on a photo what should move and where: paths that carry a part along, outlines "
            "of the parts, and points that stay. Follow Clip makes the video.",
            search_aliases=["svd", "drag", "motion brush", "path", "trajectory", "animate", "tracks"],
            inputs=[
                io.Image.Input("image", tooltip="One photo, the same that Image to Video is given."),
                io.String.Input(
                    "paths",
                    default="",
                    socketless=True,
                    extra_dict={"widgetType": "PURESVD_PATHS"},
                    tooltip="What is drawn, as JSON in shares of the picture; the help page shows how to "
                    "write it by hand.",
                ),
                *_clip_inputs(),
            ],
            outputs=[
                io.Image.Output(
                    display_name="images", tooltip="The guide clip; its first frame is the photo."
                ),
                io.Mask.Output(
                    display_name="mask", tooltip="White where a moved or pinned part lies, per frame."
                ),
                io.Custom("TRACKS").Output(
                    display_name="tracks", tooltip="All paths and pins, for nodes of other video models."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, paths="", tracks=NOT_WIRED) -> bool | str:
        return verdict(cls, partial(drawn, wired=tracks is not NOT_WIRED), paths=paths)

    @classmethod
    def execute(cls, image, paths, frames, radius, easing=None, mask=None, tracks=None) -> io.NodeOutput:
        given = read_tracks(tracks, frames)
        drawing = drawn(paths, wired=bool(given))
        convert.check_finite(radius=radius)
        photo = convert.one_photo(image)
        size = {"height": photo.shape[-2], "width": photo.shape[-1]}
        room.check(frames, **size)
        part = None if mask is None else convert.mask(mask, 1, *photo.shape[-2:], of="photo").round()
        by = widgets.progress(easing, frames)
        layers = moved_clip.layers(
            drawing, by, **size, radius=radius, mask=part if part is not None and part.any() else None
        )
        layers += [moved_clip.tracked(place, shown, **size, radius=radius) for place, shown in given]
        held = moved_clip.pins(drawing, **size, radius=radius)
        clip, known = moved_clip.compose(photo, layers, held, t=frames)
        out = moved_clip.tracks(drawing, by, **size)
        out = [*out, *(place for place, _ in given)]
        return io.NodeOutput(
            clip.movedim(1, -1),
            known[:, 0],
            write_tracks(out, **size),
            ui={"puresvd_photo": photo_file(photo.movedim(1, -1))},
        )


def _clip_inputs():
    return [
        widgets.guide_frames_input(),
        io.Float.Input(
            "radius",
            default=0.12,
            min=0.005,
            max=1.0,
            step=0.005,
            tooltip="Size of what a path carries where nothing is outlined, and of what a pin holds: radius "
            "as a share of the shorter side.",
        ),
        widgets.easing_input(),
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip="White: the part that moves, for paths without an outline. Several such paths share it, "
            "each takes what lies nearest to its start.",
        ),
        io.Custom("TRACKS").Input(
            "tracks",
            optional=True,
            tooltip="Paths made by other nodes, in pixels of the photo; they are added to what is drawn.",
        ),
    ]


def photo_file(image: Tensor) -> list:
    """The photo as a temporary file, so that the editor can draw on what has no file of its own."""
    return files.shown(image[:1])["images"]


def drawn(paths: str, *, wired: bool) -> core_paths.Drawing:
    """What is drawn; nothing is enough only where TRACKS are wired in."""
    drawing = core_paths.parse(paths)
    if not drawing.paths and not drawing.pins and not wired:
        raise ValueError(
            "nothing is drawn, so nothing would move; draw a path on the photo, or wire in TRACKS"
        )
    return drawing


def read_tracks(tracks: dict | None, frames: int) -> list[tuple[Tensor, Tensor]]:
    """TRACKS {track_path T N 2 in pixels, track_visibility T N} -> N of (places frames 2, shown frames)"""
    if tracks is None:
        return []
    path, visible = (tracks.get(name) if isinstance(tracks, dict) else None for name in KEYS)
    if not isinstance(path, Tensor) or path.ndim != 3 or path.shape[-1] != 2 or not len(path):
        found = tuple(path.shape) if isinstance(path, Tensor) else type(path).__name__
        raise ValueError(f"tracks holds a track_path of {found}; wire in TRACKS of shape (frames, paths, 2)")
    if path.shape[1] > MOST_TRACKS:
        raise ValueError(f"tracks holds {path.shape[1]} paths, at most {MOST_TRACKS} are drawn; use fewer")
    convert.check_numbers("path in tracks", path)
    at = torch.linspace(0, len(path) - 1, frames)
    i = at.floor().long().clamp(max=max(len(path) - 2, 0))
    j = (i + 1).clamp(max=len(path) - 1)
    places = torch.lerp(path[i].float().cpu(), path[j].float().cpu(), (at - i)[:, None, None])
    seen = torch.ones(path.shape[:2], dtype=torch.bool)
    if isinstance(visible, Tensor) and visible.shape[0] == len(path):
        seen = visible.bool().cpu().expand(path.shape[:2])
    seen = seen[at.round().long()]
    return [(places[:, n], seen[:, n]) for n in range(path.shape[1])]


def write_tracks(places: list[Tensor], *, height: int, width: int) -> dict:
    """N of t 2 in pixels -> TRACKS; visible inside the picture"""
    path = torch.stack(places, 1)
    inside = (path >= 0) & (path <= torch.tensor([width - 1.0, height - 1.0]))
    return dict(zip(KEYS, (path, inside.all(-1))))
