"""Clips beside each other with their labels: as one still, or all playing at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..signatures import OnStep

GAP, PAPER, INK = 6, (24, 24, 28), (225, 225, 230)
TALLEST = 4
MOST_PIXELS = 1 << 28  # of a page times its frames: 3 GiB


class Page:
    """Places for pictures of one size, row by row, each above its label."""

    def __init__(self, count: int, columns: int, cell: tuple[int, int], frames: int = 1):
        self.columns, (self.width, self.height) = columns, cell
        self.font = font(max(11, min(28, self.width // 14)))
        self.line = line_height(self.font)
        rows = -(-count // columns)
        self.size = (
            GAP + columns * (self.width + GAP),
            GAP + rows * (self.height + self.line + GAP),
        )
        W, H = self.size
        if W * H * frames > MOST_PIXELS:
            raise ValueError(
                f"the sheet would have {frames} frames of {W}x{H} pixels; use a smaller width, or fewer clips"
            )

    def corner(self, i: int) -> tuple[int, int]:
        row, column = divmod(i, self.columns)
        return GAP + column * (self.width + GAP), GAP + row * (self.height + self.line + GAP)

    def blank(self, labels: Sequence[str]) -> Tensor:
        """H W 3 in [0, 1]: the page with nothing but its labels"""
        picture = Image.new("RGB", self.size, PAPER)
        pen = ImageDraw.Draw(picture)
        for i, words in enumerate(labels):
            x, y = self.corner(i)
            fitted = shortened(words, self.font, self.width)
            pen.text((x, y + self.height + 2), fitted, INK, self.font)
        return torch.from_numpy(np.array(picture, dtype=np.float32) / 255)

    def put(self, page: Tensor, i: int, picture: Tensor) -> None:
        """Write a picture H W 3 into place i."""
        x, y = self.corner(i)
        left, top = x + (self.width - picture.shape[1]) // 2, y + (self.height - picture.shape[0]) // 2
        page[top : top + picture.shape[0], left : left + picture.shape[1]] = picture


def font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    try:
        return ImageFont.load_default(size)
    except TypeError:  # Pillow before 10.1 has one size
        return ImageFont.load_default()


def line_height(font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> int:
    return math.ceil(getattr(font, "size", 11) * 1.35) + 2


def shortened(words: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int) -> str:
    """One line that fits, its end replaced by dots where it does not."""
    line = " ".join(words.split())
    if isinstance(font, ImageFont.ImageFont):  # the font of an old Pillow knows no others
        line = line.encode("latin-1", "replace").decode("latin-1")
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "...") > width:
        line = line[:-1]
    return line + "..."


def sheet(
    clips: Sequence[Tensor], labels: Sequence[str], *, frames: int = 4, width: int = 256, columns: int = 0
) -> Tensor:
    """A still of clips t H W c in [0, 1]: 1 H' W' 3; a row for each with `frames` at even times.

    Where one frame of each is shown, they stand in `columns`, 0: about as many columns as rows.
    `width` is that of one picture in pixels, 0: as the first clip's.
    """
    cell = cell_size(clips, labels, width)
    shown = min(frames, max(map(len, clips)))
    chosen = [even(len(clip), shown) for clip in clips]
    across = square(len(clips), columns) if shown == 1 else shown
    page = Page(len(clips) * shown, across, cell)
    names = [words if k == 0 else "" for words in labels for k in range(shown)]
    picture = page.blank(names)
    for i, (clip, places) in enumerate(zip(clips, chosen)):
        for k, at in enumerate(places):
            page.put(picture, i * shown + k, fitted(clip[at], cell))
    return picture[None]


def playing(
    clips: Sequence[Tensor],
    labels: Sequence[str],
    *,
    width: int = 256,
    columns: int = 0,
    on_step: OnStep | None = None,
) -> Tensor:
    """All clips t H W c in [0, 1] at once: t' H' W' 3; a shorter one holds its last frame."""
    cell = cell_size(clips, labels, width)
    total = max(map(len, clips))
    page = Page(len(clips), square(len(clips), columns), cell, total)
    pages = page.blank(labels).repeat(total, 1, 1, 1)
    for t, picture in enumerate(pages):
        for i, clip in enumerate(clips):
            page.put(picture, i, fitted(clip[min(t, len(clip) - 1)], cell))
        if on_step:
            on_step(t, total)
    return pages


def cell_size(clips: Sequence[Tensor], labels: Sequence[str], width: int) -> tuple[int, int]:
    """Width and height of one picture: the first clip's shape, at most `TALLEST` times as high as wide."""
    if not clips:
        raise ValueError("no clip came in; wire in one or more")
    if len(labels) != len(clips):
        raise ValueError(
            f"there are {len(labels)} labels for {len(clips)} clips; wire in the labels of the same "
            "sweep, or none"
        )
    H, W = clips[0].shape[1:3]
    wide = width or W
    return wide, max(1, round(wide * min(H / W, TALLEST)))


def square(count: int, columns: int) -> int:
    """Columns of a page for so many pictures"""
    return min(count, columns or math.ceil(math.sqrt(count)))


def even(t: int, count: int) -> list[int]:
    """`count` of t frames at even times, the first and the last among them"""
    return [round(i * (t - 1) / max(count - 1, 1)) for i in range(count)]


def fitted(frame: Tensor, cell: tuple[int, int]) -> Tensor:
    """A frame H W c, grey, RGB or with alpha, as large as fits into a cell: h w 3 in [0, 1]"""
    x = frame.float().cpu().movedim(-1, 0)
    x = (x[:3] if len(x) >= 3 else x[:1].expand(3, -1, -1)).clamp(0, 1)
    H, W = x.shape[-2:]
    scale = min(cell[0] / W, cell[1] / H)
    size = max(1, round(H * scale)), max(1, round(W * scale))
    if size != (H, W):
        x = F.interpolate(x[None], size=size, mode="bilinear", antialias=True)[0]
    return x.movedim(0, -1)
