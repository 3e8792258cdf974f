"""Write workflows/*.json, the editor's format, from the prompts in workflows/api; run with COMFYUI_PATH set.

The prompts are written by hand. What the editor needs beyond them (slots, positions, the order of widget values) is
read from the node classes of the real host.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
API, FOLDER = ROOT / "workflows" / "api", ROOT / "workflows"
HUB = "https://huggingface.co/stabilityai"
MODELS = {
    "svd.safetensors": f"{HUB}/stable-video-diffusion-img2vid",
    "svd_xt.safetensors": f"{HUB}/stable-video-diffusion-img2vid-xt",
    "sd_xl_base_1.0.safetensors": f"{HUB}/stable-diffusion-xl-base-1.0",
}
CHOOSE = "Choose a photo, press Run. "
GUIDANCE = "The embedded checkpoint needs no guidance; svd wants up to 2.5, svd_xt up to 3."
GRAPHS = {  # prompt -> title in the template browser, and the note in the graph
    "image_to_video": (
        "Image to Video",
        CHOOSE + "It runs with the small embedded checkpoint; for full quality put svd.safetensors or "
        "svd_xt.safetensors into models/checkpoints and choose it in Load Video Checkpoint. Width, height, frames "
        "and fps of 0 follow the checkpoint. " + GUIDANCE,
    ),
    "image_to_video_svd_14_frames": (
        "Image to Video, svd, 14 frames",
        CHOOSE + "Needs svd.safetensors in models/checkpoints. Settings are those it was trained with.",
    ),
    "image_to_video_svd_xt_25_frames": (
        "Image to Video, svd_xt, 25 frames",
        CHOOSE + "Needs svd_xt.safetensors in models/checkpoints. Settings are those it was trained with.",
    ),
    "image_to_video_smooth": (
        "Image to Video, smooth",
        CHOOSE + "Interpolate Video raises the frame rate fourfold after decoding, without any model file. "
        + GUIDANCE,
    ),
    "image_to_video_native_sampler": (
        "Image to Video with Native Sampler",
        CHOOSE
        + "Loading and conditioning are PureSVD's, guidance, sampling and decoding ComfyUI's own nodes. "
        + GUIDANCE,
    ),
    "image_to_video_custom_sampler": (
        "Image to Video with Custom Sampler",
        CHOOSE
        + "Guidance and noise levels as nodes of their own: ten Align Your Steps levels, any native sampler. "
        + GUIDANCE,
    ),
    "text_to_image_to_video": (
        "Text to Image to Video",
        "Write a prompt, press Run. SDXL draws the picture, svd_xt moves it; both go into "
        "models/checkpoints.",
    ),
}
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3")
COLUMN, GAP, SLOT, WIDGET, TITLE, PREVIEW = 400, 60, 22, 26, 46, 240


def inputs(cls) -> list[tuple[str, str, dict]]:
    """(name, type, options) of every input in the editor's order."""
    info = cls.INPUT_TYPES()
    found = []
    for name, spec in {**info.get("required", {}), **info.get("optional", {})}.items():
        kind = "COMBO" if isinstance(spec[0], list | tuple) else spec[0]
        found.append((name, kind, spec[1] if len(spec) > 1 else {}))
    return found


def widget_values(cls, given: dict) -> list:
    """Values by position; a seed is followed by what happens to it after a run, an upload by its button."""
    values = []
    for name, kind, options in inputs(cls):
        if kind not in WIDGETS or (name not in given and "default" not in options):
            continue
        linked = isinstance(given.get(name), list)
        values.append(options.get("default") if linked else given.get(name, options.get("default")))
        if options.get("control_after_generate"):
            values.append("fixed")
        if options.get("image_upload"):
            values.append("image")
    return values


def depth(prompt: dict, key: str) -> int:
    links = [value[0] for value in prompt[key]["inputs"].values() if isinstance(value, list)]
    return 1 + max((depth(prompt, link) for link in links), default=-1)


def ui_node(key: str, entry: dict, cls) -> dict:
    linked = {name for name, value in entry["inputs"].items() if isinstance(value, list)}
    sockets = [(name, kind) for name, kind, _ in inputs(cls) if kind not in WIDGETS or name in linked]
    types = list(cls.RETURN_TYPES)
    names = list(getattr(cls, "RETURN_NAMES", None) or types)
    values = widget_values(cls, entry["inputs"])
    ours = entry["class_type"].startswith("PureSVD")
    properties = {"Node name for S&R": entry["class_type"], "cnr_id": "puresvd" if ours else "comfy-core"}
    wanted = [value for value in entry["inputs"].values() if isinstance(value, str) and value in MODELS]
    if wanted:
        properties["models"] = [
            {"name": w, "url": f"{MODELS[w]}/resolve/main/{w}", "directory": "checkpoints"} for w in wanted
        ]
    height = TITLE + SLOT * max(len(sockets), len(types)) + WIDGET * len(values)
    height += PREVIEW if entry["class_type"] in ("LoadImage", "SaveVideo") else 0
    return {
        "id": int(key), "type": entry["class_type"], "title": entry["_meta"]["title"], "pos": [0, 0],
        "size": [320, height],
        "flags": {}, "order": 0, "mode": 0,
        "inputs": [
            {"name": name, "type": kind, "link": None, **({"widget": {"name": name}} if kind in WIDGETS else {})}
            for name, kind in sockets
        ],
        "outputs": [{"name": n, "type": kind, "links": [], "slot_index": i} for i, (n, kind) in enumerate(zip(names, types))],
        "properties": properties, "widgets_values": values,
    }  # fmt: skip


def ui_graph(prompt: dict, note: str, classes: dict) -> dict:
    nodes = {key: ui_node(key, entry, classes[entry["class_type"]]) for key, entry in prompt.items()}
    links = []
    for key, entry in prompt.items():
        for slot, socket in enumerate(nodes[key]["inputs"]):
            origin = entry["inputs"].get(socket["name"])
            if origin is None:
                continue
            link = [len(links) + 1, int(origin[0]), origin[1], int(key), slot, socket["type"]]
            links.append(link)
            socket["link"] = link[0]
            nodes[origin[0]]["outputs"][origin[1]]["links"].append(link[0])
    place(prompt, nodes)
    text = {
        "id": 100, "type": "MarkdownNote", "pos": [0, -170], "size": [620, 120], "flags": {}, "order": 0, "mode": 0,
        "inputs": [], "outputs": [], "properties": {}, "widgets_values": [note],
    }  # fmt: skip
    return {
        "last_node_id": 100, "last_link_id": len(links), "nodes": [text, *nodes.values()], "links": links,
        "groups": [], "config": {}, "extra": {}, "version": 0.4,
    }  # fmt: skip


def place(prompt: dict, nodes: dict) -> None:
    """Columns by distance from the start, nodes of a column under each other."""
    heights: dict[int, int] = {}
    order = sorted(prompt, key=lambda key: (depth(prompt, key), int(key)))
    for i, key in enumerate(order):
        column = depth(prompt, key)
        nodes[key]["pos"] = [column * COLUMN, heights.get(column, 0)]
        nodes[key]["order"] = i
        heights[column] = heights.get(column, 0) + nodes[key]["size"][1] + GAP


def write(classes: dict) -> list[Path]:
    written = []
    for name, (title, note) in GRAPHS.items():
        prompt = json.loads((API / f"{name}.json").read_text(encoding="utf-8"))
        written.append(FOLDER / f"{title}.json")
        text = json.dumps(ui_graph(prompt, note, classes), indent=1)
        written[-1].write_text(text + "\n", encoding="utf-8")
    return written


def host_classes() -> dict:
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    importlib.import_module("comfy.cli_args").args.cpu = True
    importlib.import_module("utils.extra_config")
    nodes = importlib.import_module("nodes")
    asyncio.run(nodes.init_builtin_extra_nodes())
    assert asyncio.run(nodes.load_custom_node(str(ROOT)))
    return nodes.NODE_CLASS_MAPPINGS


if __name__ == "__main__":
    write(host_classes())
