"""A report as a picture: what happens over time, and the numbers in words above it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from .report import LEAST_EXPLAINED, Report, summary

WIDTH, PANEL, COLUMNS = 1024, 190, 2
MARGIN, LEFT, LINE, LETTERS = 14, 56, 19, 128
PAPER, INK, PALE, FAINT = (24, 24, 28), (225, 225, 230), (150, 150, 158), (62, 62, 70)
COLOURS = ((94, 175, 255), (255, 170, 70), (120, 215, 130), (235, 110, 160))
CUT = (220, 70, 60)

Series = Sequence[float | None]


@dataclass(frozen=True)
class Panel:
    title: str
    lines: tuple[tuple[str, Series], ...]  # name, values
    least: float = 0.0  # height of the axis at least, so that rounding does not fill it
    zero: bool = True  # is zero on the axis?
    mark: float | None = None  # a level to compare with
    pairs: bool = True  # a value a pair of frames, or a value a frame
    along: str = "time"  # what the axis across is


def panels(report: Report) -> list[Panel]:
    pair, frame = report["per_pair"], report["per_frame"]
    photo = "the photo" if report["photo"]["given"] else "the first frame"
    return [
        Panel(
            "Speed, picture widths a second", tuple((k, pair[k]) for k in ("speed", "camera", "object")), 0.01
        ),
        Panel(
            "Share of the change explained by motion, of the picture followed",
            (("explained", pair["explained"]), ("followed", pair["followed"])),
            1.0,
            mark=LEAST_EXPLAINED,
        ),
        Panel("Camera, picture widths a second", (("pan", pair["pan"]), ("tilt", pair["tilt"])), 0.01),
        Panel(
            "Camera, zoom in 1/s and roll in 100 degrees/s",
            (("zoom", pair["zoom"]), ("roll", [None if v is None else v / 100 for v in pair["roll"]])),
            0.01,
        ),
        Panel(
            "Light: mean of the picture, and followed along the motion",
            (("mean", frame["brightness"]), ("followed", frame["light"])),
            0.05,
            zero=False,
            pairs=False,
        ),
        Panel(
            "Sharpness against the first frame",
            (("sharpness", frame["sharpness"]),),
            1.0,
            mark=1.0,
            pairs=False,
        ),
        Panel(
            "Noise and clipped values, share of white",
            (("noise", frame["noise"]), ("clipped", frame["clipped"])),
            0.02,
            pairs=False,
        ),
        Panel(f"Closeness to {photo}, dB", (("PSNR", frame["psnr"]),), 10.0, zero=False, pairs=False),
    ]


def draw(report: Report) -> Image.Image:
    """An RGB picture 1024 pixels wide"""
    return page(summary(report), panels(report), report["cuts"])


def page(words: Sequence[str], found: Sequence[Panel], cuts: Sequence[int] = ()) -> Image.Image:
    """Words above panels; `cuts` are frames that a red line marks."""
    words = [part for line in words for part in textwrap.wrap(line, LETTERS, subsequent_indent="    ")]
    top = 2 * MARGIN + LINE * len(words)
    page = Image.new("RGB", (WIDTH, top + PANEL * -(-len(found) // COLUMNS) + MARGIN), PAPER)
    pen = ImageDraw.Draw(page)
    for i, line in enumerate(words):
        pen.text((MARGIN, MARGIN + i * LINE), line, INK, font(14))
    wide = WIDTH // COLUMNS
    for i, panel in enumerate(found):
        corner = (i % COLUMNS * wide, top + i // COLUMNS * PANEL)
        plot(pen, panel, corner, wide, cuts)
    return page


def font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    try:
        return ImageFont.load_default(size)
    except TypeError:  # Pillow before 10.1 has one size
        return ImageFont.load_default()


def plot(
    pen: ImageDraw.ImageDraw, panel: Panel, corner: tuple[int, int], wide: int, cuts: Sequence[int]
) -> None:
    x, y = corner
    box = (x + LEFT, y + 44, x + wide - MARGIN, y + PANEL - 22)
    pen.text((x + MARGIN, y + 6), panel.title, INK, font(14))
    write_names(pen, panel, (x + LEFT, y + 25))
    low, high = span(panel)
    for share in (0.0, 0.5, 1.0):
        height = box[3] - share * (box[3] - box[1])
        pen.line((box[0], height, box[2], height), FAINT)
        pen.text((box[0] - 6, height), tick(low, high, share), PALE, font(11), anchor="rm")
    count = max(len(values) for _, values in panel.lines)

    def place(i: float, value: float) -> tuple[float, float]:
        across = box[0] + (box[2] - box[0]) * (i + 0.5) / max(count, 1)
        return across, box[3] - (value - low) / (high - low) * (box[3] - box[1])

    if panel.mark is not None:
        dashed(pen, place(0, panel.mark)[1], box[0], box[2])
    for cut in cuts:
        across = place(cut - (1 if panel.pairs else 0.5), low)[0]
        pen.line((across, box[1], across, box[3]), CUT)
    for (_, values), colour in zip(panel.lines, COLOURS):
        curve(pen, [None if v is None else place(i, v) for i, v in enumerate(values)], colour)
    pen.text((box[2], box[3] + 4), panel.along, PALE, font(11), anchor="ra")


def span(panel: Panel) -> tuple[float, float]:
    """Lowest and highest value of the axis"""
    values = [v for _, series in panel.lines for v in series if v is not None] or [0.0]
    if panel.mark is not None:
        values = [*values, panel.mark]
    low, high = min(values), max(values)
    if panel.zero:
        low, high = min(low, 0.0), max(high, 0.0)
    short = panel.least - (high - low)
    if short > 0 and panel.zero:
        low, high = (low, low + panel.least) if high > -low else (high - panel.least, high)
    elif short > 0:
        low, high = low - short / 2, high + short / 2
    return low, high


def tick(low: float, high: float, share: float) -> str:
    value = low + share * (high - low)
    return "0" if abs(value) < 1e-6 * (high - low) else f"{value:.2g}" if abs(value) < 10 else f"{value:.0f}"


def write_names(pen: ImageDraw.ImageDraw, panel: Panel, place: tuple[float, float]) -> None:
    x, y = place
    for (name, _), colour in zip(panel.lines, COLOURS):
        pen.rectangle((x, y + 5, x + 12, y + 8), colour)
        pen.text((x + 17, y), name, PALE, font(11))
        x += 30 + 7 * len(name)


def dashed(pen: ImageDraw.ImageDraw, y: float, left: float, right: float) -> None:
    x = left
    while x < right:
        pen.line((x, y, min(x + 4, right), y), PALE)
        x += 9


def curve(
    pen: ImageDraw.ImageDraw, points: list[tuple[float, float] | None], colour: tuple[int, int, int]
) -> None:
    """Neighbours joined, gaps left open"""
    for a, b in zip(points, points[1:]):
        if a and b:
            pen.line((*a, *b), colour, 2)
    for point in points:
        if point:
            x, y = point
            pen.ellipse((x - 2, y - 2, x + 2, y + 2), colour)
