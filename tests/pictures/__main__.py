"""Make the pictures of help pages, README and template cards with the pack itself, in a real ComfyUI.

COMFYUI_PATH=... python -m tests.pictures [name ...]        with the Python that ComfyUI runs on
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path

import torch

from clients.puresvd_client import WORKFLOW, Client, set_photo
from scripts import cache, server
from svd_core.frames.video import interpolate
from svd_core.training import nano

from . import drawing

SAMPLE = cache.ROOT / "assets" / "sample.jpg"
DOCS = cache.ROOT / "web" / "docs" / "pictures"
CARDS = cache.ROOT / "workflows"
KILO = 1000
PAGE = 60 * KILO  # bytes that one picture of a help page may take
QUICK = dict(schedule="ays", steps=10)  # for clips that show something else than sampling


class Studio:
    """Frames made by the bundled workflow with other values."""

    def __init__(self, client: Client, base: Path):
        self.client, self.base, self.known = client, base, {}
        self.photo = client.upload(SAMPLE)

    def clip(self, workflow: Path = WORKFLOW, origin: tuple | None = None, **values) -> list:
        """The decoded frames, or the IMAGE of another (node, output);
        values go to every node that has an input of that name.
        """
        key = json.dumps([workflow.name, origin, values], sort_keys=True)
        if key not in self.known:
            prompt = set_photo(json.loads(workflow.read_text(encoding="utf-8")), self.photo)
            for node in prompt.values():
                node["inputs"] |= {name: v for name, v in values.items() if name in node["inputs"]}
            decode = next(k for k, node in prompt.items() if node["class_type"] == "PureSVDDecode")
            later = {
                key for key, node in prompt.items() if node["class_type"] in ("CreateVideo", "SaveVideo")
            }
            prompt = {key: node for key, node in prompt.items() if key not in later}
            save = {"images": list(origin or (decode, 0)), "filename_prefix": "frame"}
            prompt["save"] = {"class_type": "SaveImage", "inputs": save}
            job = self.client.wait(self.client.queue(prompt), every=0.2)
            files = [self.base / "output" / item["filename"] for item in job["outputs"]["save"]["images"]]
            self.known[key] = [drawing.load(file) for file in files]
        return self.known[key]

    def rows(self, name: str, choices: list, **values) -> list[tuple[str, list]]:
        """(caption, frames) of one input's values."""
        return [(f"{name} {choice}", self.clip(**{name: choice}, **values)) for choice in choices]


def motion(studio: Studio) -> None:
    panels = studio.rows("motion_bucket_id", [1, 127, 255], **QUICK)
    drawing.animation(DOCS / "motion_bucket_id.webp", panels, fps=7, side=144, limit=PAGE)


def rate(studio: Studio) -> None:
    panels = studio.rows("fps", [6, 12, 24], **QUICK)
    drawing.animation(DOCS / "fps.webp", panels, fps=7, side=144, limit=PAGE)


def augmentation(studio: Studio) -> None:
    panels = studio.rows("augmentation_level", [0.0, 0.02, 0.1, 0.5], motion_bucket_id=64, **QUICK)
    drawing.animation(DOCS / "augmentation_level.webp", panels, fps=7, side=128, limit=PAGE)


def fit(studio: Studio) -> None:
    panels = [(name, frames[:1]) for name, frames in studio.rows("fit", ["crop", "pad", "stretch"], **QUICK)]
    drawing.sheet(DOCS / "fit.jpg", panels, columns=3, side=160, limit=PAGE)


def samplers(studio: Studio) -> None:
    panels = [
        (f"{sampler}, {steps} steps", studio.clip(sampler=sampler, steps=steps)[7:8])
        for sampler in ("euler", "heun", "dpmpp_2m")
        for steps in (5, 10, 20)
    ]
    drawing.sheet(DOCS / "samplers.jpg", panels, columns=3, side=144, limit=PAGE)


def schedules(studio: Studio) -> None:
    panels = [
        (f"{name}, {steps} steps", studio.clip(schedule=name, steps=steps)[7:8])
        for name in ("karras", "ays")
        for steps in (5, 10)
    ]
    drawing.sheet(DOCS / "schedules.jpg", panels, columns=2, side=144, limit=PAGE)


def interpolation(studio: Studio) -> None:
    """A camera's pan over the sample photo: what comes in at 7 frames a second, and what comes out at 28."""
    coarse = drawing.pan(drawing.load(SAMPLE), frames=8, shift=11, side=144)
    x = torch.stack([drawing.to_tensor(frame) for frame in coarse])
    fine = [drawing.to_image(frame) for frame in interpolate(x, source_fps=7, target_fps=28)]
    held = [frame for frame in coarse for _ in range(4)][: len(fine)]
    panels = [("source_fps 7", held), ("target_fps 28", fine)]
    drawing.animation(DOCS / "interpolation.webp", panels, fps=28, side=144, limit=PAGE)


def result(studio: Studio) -> None:
    """The README's animation: the photo, and the bundled workflow's video of it."""
    frames = studio.clip()
    photo = drawing.square(drawing.load(SAMPLE), 256)
    panels = [("photo", [photo] * len(frames)), ("video", frames)]
    drawing.animation(
        cache.ROOT / "assets" / "result.webp", panels, fps=7, side=256, limit=1500 * KILO, quality=90
    )


CARD_TEXTS = {  # of graphs that run on the embedded checkpoint: what the card says
    "Image to Video": "embedded checkpoint",
    "Image to Video, measured": "measured",
    "Image to Video, until it moves": "until it moves",
    "Image to Video, more motion": "more motion",
    "Image to Video with Native Sampler": "native sampler",
    "Image to Video with Custom Sampler": "custom sampler",
    "Image to Video, smooth": "28 frames a second",
}
FOREIGN_CARDS = {  # of graphs whose files are not part of the pack: text, length in frames
    "Image to Video, svd, 14 frames": ("svd", 14),
    "Image to Video, svd_xt, 25 frames": ("svd_xt", 25),
    "Text to Image to Video": ("text to video", 25),
    "Image to Video with LoRA": ("with a LoRA", 14),
    "Image to Video with ControlNet": ("ControlNet", 14),
    "Image to Video, shaped guidance": ("shaped guidance", 14),
}


def cards(studio: Studio) -> None:
    photo, frames = drawing.load(SAMPLE), studio.clip()
    for title, text in CARD_TEXTS.items():
        shown = frames[:: math.ceil(len(frames) / 4)] if title != "Image to Video, smooth" else frames[::2]
        drawing.card(CARDS / f"{title}.jpg", photo, text, shown)
    last = [frames[-1] for _, frames in studio.rows("motion_bucket_id", [1, 127, 255], **QUICK)]
    drawing.card(CARDS / "Sweep the Motion Bucket.jpg", photo, "sweep the motion bucket", last)
    last = [studio.clip(curve="linear", max_cfg=scale, **QUICK)[-1] for scale in (1.0, 2.0, 3.0)]
    drawing.card(CARDS / "Sweep Guidance.jpg", photo, "sweep guidance", last)
    for title, (text, count) in FOREIGN_CARDS.items():
        drawing.card(CARDS / f"{title}.jpg", photo, f"{text}, {count} frames", [None] * count)


SMALL = 128  # pixels: quick, and larger than a card shows them


def chained(studio: Studio, name: str, title: str, text: str, **values) -> tuple[list, list]:
    """A bundled graph run small, and its card; returns the frames and what else it gave as pictures."""
    prompt = set_photo(json.loads((CARDS / "api" / f"{name}.json").read_text(encoding="utf-8")), studio.photo)
    prompt["4"]["inputs"] |= {"width": SMALL, "height": SMALL, **values}
    prompt = {key: node for key, node in prompt.items() if key not in ("6", "7")}
    prompt["save"] = {"class_type": "SaveImage", "inputs": {"images": ["5", 0], "filename_prefix": name}}
    job = studio.client.wait(studio.client.queue(prompt), every=0.2)
    files = [studio.base / "output" / item["filename"] for item in job["outputs"]["save"]["images"]]
    others = [
        studio.base / "temp" / item["filename"] for item in job["outputs"].get("9", {}).get("images", [])
    ]
    frames = [drawing.load(file) for file in files]
    shown = frames[:: math.ceil(len(frames) / 4)]
    drawing.card(CARDS / f"{title}.jpg", drawing.load(SAMPLE), text, shown)
    return frames, [drawing.load(file) for file in others]


def chains(studio: Studio) -> None:
    """Clips between pictures, in a loop and in a chain: cards, and what the help pages show of them."""
    frames, charts = chained(studio, "long_video", "Long Video (15 s)", "15 seconds")
    ends = [(f"{i / 7:.0f} s", [frames[i]]) for i in (0, 28, 56, 84)]
    drawing.sheet(DOCS / "long_video.jpg", ends, columns=4, side=128, limit=PAGE)
    charts[0].save(DOCS / "long_video_chart.png", optimize=True)
    loop, _ = chained(studio, "seamless_loop", "Seamless Loop", "a loop")
    whole = dict(width=0, height=0)
    far, _ = chained(studio, "two_pictures", "Two Pictures", "between two pictures", **whole)
    panels = [("between two pictures", far), ("a loop", (loop * 2)[: len(far)])]
    drawing.animation(DOCS / "between.webp", panels, fps=7, side=160, limit=PAGE)


def cameras(studio: Studio) -> None:
    """The embedded model as it is, and with each of its camera LoRAs."""
    workflow = WORKFLOW.with_name("image_to_video_lora.json")
    panels = [("no LoRA", studio.clip())]
    for movement in nano.CAMERAS:
        panels.append((movement, studio.clip(workflow, lora_name=f"svd-nano camera {movement} (embedded)")))
    drawing.animation(DOCS / "cameras.webp", panels, fps=7, side=144, limit=PAGE)
    last = [frames[-1] for caption, frames in panels if caption in ("left", "up", "in", "out")]
    drawing.card(CARDS / "Lead the Camera.jpg", drawing.load(SAMPLE), "camera LoRAs", last)


GUIDE = ("8", 0)  # in the prompts that follow one


def moves(studio: Studio) -> None:
    """Guide clips of a camera that moves, and a video that follows one."""
    workflow, side = WORKFLOW.with_name("camera_pan.json"), 144
    named = ("Pan Left", "Zoom In", "Clockwise")
    panels = [(move, squares(studio.clip(workflow, GUIDE, move=move), side)) for move in named]
    panels.append(("video of Pan Left", studio.clip(workflow)))
    drawing.animation(DOCS / "camera_move.webp", panels, fps=7, side=side, limit=PAGE)


def followed(studio: Studio) -> None:
    """A guide clip in which a part is dragged, and the videos that follow it more and more closely."""
    workflow, side = WORKFLOW.with_name("drag.json"), 144
    panels = [("guide clip", squares(studio.clip(workflow, GUIDE), side))]
    panels += [(name, studio.clip(workflow, adherence=name)) for name in ("loose", "follow", "strict")]
    drawing.animation(DOCS / "follow.webp", panels, fps=7, side=side, limit=PAGE)


def squares(frames: list, side: int) -> list:
    return [drawing.square(frame, side) for frame in frames]


def training(studio: Studio) -> None:
    """The card of *Train a LoRA*: the clip that teaches."""
    prompt = json.loads((CARDS / "api" / "train_a_lora.json").read_text(encoding="utf-8"))
    prompt = set_photo({key: prompt[key] for key in ("1", "2")}, studio.photo)
    prompt["save"] = {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "clip"}}
    job = studio.client.wait(studio.client.queue(prompt), every=0.2)
    files = [studio.base / "output" / item["filename"] for item in job["outputs"]["save"]["images"]]
    shown = [drawing.load(file) for file in files[:: math.ceil(len(files) / 4)]]
    drawing.card(CARDS / "Train a LoRA.jpg", drawing.load(SAMPLE), "train a LoRA", shown)


ALL = (
    interpolation,
    fit,
    motion,
    rate,
    augmentation,
    samplers,
    schedules,
    result,
    cards,
    chains,
    cameras,
    moves,
    followed,
    training,
)
PICTURES = {function.__name__: function for function in ALL}


def main(names: list[str]) -> None:
    if unknown := set(names) - PICTURES.keys():
        raise SystemExit(f"no picture {', '.join(sorted(unknown))}; there are {', '.join(PICTURES)}")
    DOCS.mkdir(parents=True, exist_ok=True)
    path, python = Path(os.environ["COMFYUI_PATH"]), Path(sys.executable)
    with server.temporary_base() as base, server.running(path, base, python=python) as client:
        studio = Studio(client, base)
        for name in names or PICTURES:
            PICTURES[name](studio)


if __name__ == "__main__":
    main(sys.argv[1:])
