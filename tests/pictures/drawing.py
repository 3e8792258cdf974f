"""Panels with captions, side by side, as an animation or a still, no larger than allowed."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

INK, PAPER, GAP = (225, 225, 230), (24, 24, 28), 6
CARD, STRIP, HOLE = 512, 92, 8


def load(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")


def square(picture: Image.Image, side: int) -> Image.Image:
    """The centre square."""
    w, h = picture.size
    s = min(w, h)
    box = ((w - s) // 2, (h - s) // 2, (w + s) // 2, (h + s) // 2)
    return picture.resize((side, side), Image.Resampling.LANCZOS, box=box)


def pan(picture: Image.Image, *, frames: int, shift: int, side: int) -> list[Image.Image]:
    """A camera that moves to the right by `shift` pixels of the result a frame."""
    scale = side * 1.4 / picture.height  # closer than the whole height
    picture = picture.resize(
        (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS
    )
    left, top = (picture.width - side - shift * (frames - 1)) // 2, picture.height - side
    places = [left + shift * i for i in range(frames)]
    return [picture.crop((x, top, x + side, top + side)) for x in places]


def to_tensor(picture: Image.Image):
    """3 H W in [0, 1]"""
    return torch.from_numpy(np.array(picture, dtype=np.float32) / 255).movedim(-1, 0)


def to_image(x) -> Image.Image:
    return Image.fromarray((x.clamp(0, 1) * 255).round().byte().movedim(0, -1).numpy())


def page(panels: list[tuple[str, Image.Image]], *, columns: int, side: int) -> Image.Image:
    """Panels row by row, each above its caption."""
    font = ImageFont.load_default(max(11, side // 13))
    line = font.size + 8
    rows = -(-len(panels) // columns)
    size = (columns * (side + GAP) + GAP, rows * (side + line + GAP) + GAP)
    picture = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(picture)
    for i, (caption, panel) in enumerate(panels):
        x, y = GAP + (i % columns) * (side + GAP), GAP + (i // columns) * (side + line + GAP)
        picture.paste(panel.resize((side, side), Image.Resampling.LANCZOS), (x, y))
        pen.text((x + side // 2, y + side + line // 2), caption, INK, font, anchor="mm")
    return picture


def sheet(path: Path, panels: list[tuple[str, list]], *, columns: int, side: int, limit: int) -> None:
    """A still of each panel's first frame."""
    picture = page([(caption, frames[0]) for caption, frames in panels], columns=columns, side=side)
    write(path, limit, 90, lambda out, quality: picture.save(out, "JPEG", quality=quality, optimize=True))


def animation(
    path: Path, panels: list[tuple[str, list]], *, fps: int, side: int, limit: int, quality: int = 80
) -> None:
    """All panels playing at once, over and over."""
    count = min(len(frames) for _, frames in panels)
    pages = [
        page([(caption, frames[i]) for caption, frames in panels], columns=len(panels), side=side)
        for i in range(count)
    ]

    def save(out: io.BytesIO, quality: int) -> None:
        more = dict(save_all=True, append_images=pages[1:], duration=round(1000 / fps), loop=0)
        pages[0].save(out, "WEBP", quality=quality, method=4, **more)

    write(path, limit, quality, save)


def write(path: Path, limit: int, quality: int, save) -> None:
    """At the best quality that fits."""
    for lower in range(quality, 9, -5):
        out = io.BytesIO()
        save(out, lower)
        if out.tell() <= limit:
            path.write_bytes(out.getvalue())
            return
    raise ValueError(
        f"{path.name} takes {out.tell()} bytes at quality {lower}, allowed {limit}; make it smaller"
    )


def card(path: Path, photo: Image.Image, text: str, frames: list) -> None:
    """A template's thumbnail: the photo, what is special, and the film made of it; None: an empty frame."""
    picture = Image.new("RGB", (CARD, CARD), PAPER)
    picture.paste(square(photo, CARD).crop((0, 40, CARD, CARD - STRIP + 40)), (0, 0))
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(30)
    box = pen.textbbox((34, 34), text, font)
    pen.rounded_rectangle((18, 18, box[2] + 16, box[3] + 16), 10, PAPER)
    pen.text((34, 34), text, (255, 255, 255), font)
    film(picture, pen, frames)
    picture.save(path, quality=88, optimize=True)


def film(picture: Image.Image, pen: ImageDraw.ImageDraw, frames: list) -> None:
    """A strip along the lower edge."""
    top = CARD - STRIP
    for x in range(HOLE, CARD, 2 * HOLE + 6):
        for y in (top + 5, CARD - 5 - HOLE):
            pen.rounded_rectangle((x, y, x + HOLE + 3, y + HOLE - 1), 2, INK)
    width, high = CARD / len(frames), STRIP - 4 * HOLE - 4
    for i, frame in enumerate(frames):
        left, right = round(i * width) + 3, round((i + 1) * width) - 3
        where = (left, top + 2 * HOLE + 2)
        if frame is None:
            pen.rectangle((*where, right, where[1] + high), (70, 74, 90))
        else:
            wide = square(frame, CARD).resize((right - left, high), box=crop(right - left, high))
            picture.paste(wide, where)


def crop(w: int, h: int) -> tuple[float, float, float, float]:
    """The middle of a CARD x CARD picture at the aspect of w x h."""
    scale = CARD / max(w, h)
    x, y = (CARD - w * scale) / 2, (CARD - h * scale) / 2
    return x, y, CARD - x, CARD - y
