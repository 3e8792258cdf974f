"""What a clip was made from, written down so that the same graph can be run again and compared."""

from __future__ import annotations

import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io
from torch import Tensor

from . import convert, files
from .host import machine
from .host.progress import on_step
from .validate import verdict

BLOCK = 2**24  # bytes hashed between two looks at the cancel button
NO_MODELS = {"custom_nodes", "configs"}


class PureSVDManifest(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDManifest",
            display_name="Record Video Manifest",
            category="video/svd",
            description="Write down what a clip was made from: hashes of the weights, of the input files and "
            "of the frames, seeds, versions, machine and graph. scripts/replay.py makes the clip again from "
            "that file and says what differs.",
            search_aliases=["svd", "reproduce", "provenance", "hash", "metadata"],
            is_output_node=True,
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
            inputs=[
                io.Image.Input("images", tooltip="The finished clip; it is passed on unchanged."),
                io.String.Input(
                    "filename_prefix",
                    default="video/PureSVD_manifest",
                    tooltip="Where the JSON file goes, below the output folder; a number and .json are "
                    "added.",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The model that made the clip, so that its number format is written down too.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The clip as it came in."),
                io.String.Output(display_name="manifest", tooltip="The text of the JSON file."),
            ],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix=None) -> bool | str:
        return verdict(cls, target_of, filename_prefix=filename_prefix)

    @classmethod
    def execute(cls, images, filename_prefix, model=None) -> io.NodeOutput:
        convert.check_image(images)
        graph = ancestry(cls.hidden.prompt or {}, str(cls.hidden.unique_id))
        text = json.dumps(record(images, graph, model), indent=1)
        H, W = images.shape[1:3]
        return io.NodeOutput(images, text, ui={"files": [save(text, filename_prefix, width=W, height=H)]})


def ancestry(prompt: dict, node_id: str) -> dict:
    """The part of an API prompt that leads to a node, the node included;
    all of it where the node is not in it.
    """
    graph, waiting = {}, [node_id] if node_id in prompt else list(prompt)
    while waiting:
        key = waiting.pop()
        if key in graph:
            continue
        entry = prompt[key]
        graph[key] = {"class_type": entry["class_type"], "inputs": entry["inputs"]}
        lists = [value for value in entry["inputs"].values() if isinstance(value, list) and value]
        waiting += [value[0] for value in lists if isinstance(value[0], str) and value[0] in prompt]  # links
    return {key: graph[key] for key in prompt if key in graph}


def record(images: Tensor, graph: dict, model=None) -> dict:
    """The manifest; nothing in it changes from run to run, so equal runs write equal files."""
    widgets = [
        (f"{key}.{name}", value)
        for key, entry in graph.items()
        for name, value in entry["inputs"].items()
        if not isinstance(value, list)
    ]
    texts = [value for _, value in widgets if isinstance(value, str)]
    return {
        "frames": {"shape": list(images.shape), "sha256": frames_hash(images)},
        "weights": hashes({name: path for text in texts for name, path in weight_files(text).items()}),
        "inputs": hashes({name: path for text in texts for name, path in input_files(text).items()}),
        "seeds": seeds(graph),
        "versions": machine.versions(),
        "machine": machine.machine(model),
        "graph": graph,
    }


def seeds(graph: dict) -> dict:
    """Every input named like a seed: its value; for one that is wired in,
    the number or numbers it comes from.
    """
    found: dict[str, object] = {}
    for key, entry in graph.items():
        for name, value in entry["inputs"].items():
            if name.endswith("seed"):
                link = isinstance(value, list)
                found |= (
                    sources(graph, f"{key}.{name}", value[0]) if link and value else {f"{key}.{name}": value}
                )
    return found


def sources(graph: dict, place: str, node_id: object) -> dict:
    """What feeds a wired input: {place: value} where that is one node's value,
    else every widget that leads to it.
    """
    lead = ancestry(graph, node_id) if isinstance(node_id, str) and node_id in graph else {}
    widgets = {
        f"{key}.{name}": value
        for key, entry in lead.items()
        for name, value in entry["inputs"].items()
        if not isinstance(value, list)
    }
    values = [widgets[name] for name in widgets if name.endswith((".value", "seed"))]
    return {place: values[0]} if len(lead) == len(values) == 1 else widgets


def frames_hash(images: Tensor) -> str:
    """SHA-256 of the float32 values, row by row."""
    digest = hashlib.sha256()
    for frame in images:
        digest.update(frame.to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()


def weight_files(text: str) -> dict[str, Path]:
    """The model files a widget's text stands for, under names that hold no absolute path."""
    embedded = {files.EMBEDDED: files.EMBEDDED_FILE, **files.embedded_loras()}
    if text in embedded:
        return {text: embedded[text]}
    if text.startswith(files.DIFFUSERS) and (
        folder := files.diffusers_folders().get(text[len(files.DIFFUSERS) :])
    ):
        return {f"{text}/{path.relative_to(folder).as_posix()}": path for path in files.members(Path(folder))}
    name = text.removeprefix(files.CHECKPOINTS)
    kinds = [kind for kind in folder_paths.folder_names_and_paths if kind not in NO_MODELS]
    found = {f"{kind}/{name}": folder_paths.get_full_path(kind, name) for kind in kinds}
    if text in files.statistics():
        found[f"{files.STATISTICS}/{text}"] = files.statistics_path(text)
    return {label: Path(path) for label, path in found.items() if path}


def input_files(text: str) -> dict[str, Path]:
    """The input, output or temporary file a widget's text stands for."""
    if not folder_paths.exists_annotated_filepath(text):
        return {}
    path = Path(os.path.abspath(folder_paths.get_annotated_filepath(text)))
    roots = (
        folder_paths.get_input_directory(),
        folder_paths.get_output_directory(),
        folder_paths.get_temp_directory(),
    )
    inside = any(path.is_relative_to(os.path.abspath(root)) for root in roots)
    return {text: path} if inside and path.is_file() else {}


def hashes(paths: dict[str, Path]) -> dict[str, str]:
    found = {}
    for name, path in sorted(paths.items()):
        state = path.stat()
        found[name] = file_hash(str(path), state.st_size, state.st_mtime_ns)
    return found


@lru_cache(maxsize=256)
def file_hash(path: str, size: int, mtime_ns: int) -> str:
    """SHA-256 of a file; read again only when its size or time has changed."""
    digest, step = hashlib.sha256(), on_step()
    with open(path, "rb") as file:
        for i in range(-(-size // BLOCK)):
            digest.update(file.read(BLOCK))
            step(i, -(-size // BLOCK))
    return digest.hexdigest()


def target_of(filename_prefix: str) -> str:
    """The output folder, below which the file goes."""
    output = os.path.abspath(folder_paths.get_output_directory())
    target = Path(os.path.abspath(os.path.join(output, filename_prefix)))
    if "\0" in filename_prefix or Path(output) not in target.parents:
        raise ValueError(
            f"filename_prefix {filename_prefix[:200]!r} names no file below the output folder; use one such "
            "as video/clip"
        )
    return output


def save(text: str, prefix: str, *, width: int, height: int) -> dict[str, str]:
    """Write the file into the output folder; returns the host's name for it. The pixels are for the name."""
    output = target_of(prefix)
    try:
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, output, width, height)
        file = f"{name}_{counter:05}_.json"
        Path(folder, file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueError(
            f"filename_prefix {prefix[:200]!r} cannot be written to ({error.strerror}); use another name or "
            "free some space"
        ) from error
    return {"filename": file, "subfolder": subfolder, "type": "output"}
