"""Workflows in API format: read, checked, given a photo; and what a job made of them."""

import json
import mimetypes
from pathlib import Path
from typing import Any

from clients.local import VIDEO

Graph = dict[str, Any]

WORKFLOW = Path(__file__).resolve().parent.parent / "workflows" / "api" / "image_to_video.json"
LOADERS = {"LoadImage": ("image", "image"), "LoadVideo": ("file", "video")}  # class: (input, kind of file)
ANIMATED = ("image/gif", "image/webp", "image/apng")  # pictures that a video loader reads too
EXPORT = "open it in the editor and choose File > Export (API)"


def read(path: Path) -> Graph:
    """A workflow file as the server wants it."""
    try:
        graph = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}); give a workflow in API format"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} does not hold JSON; give a workflow in API format") from error
    return check(graph, str(path))


def check(graph: Any, what: str) -> Graph:
    """The graph itself, if it is one in API format: node ids, each with its class and inputs."""
    if isinstance(graph, dict) and isinstance(graph.get("nodes"), list):
        raise ValueError(f"{what} is a workflow as the editor keeps it; to get the API format, {EXPORT}")
    if not isinstance(graph, dict) or not graph or not all(map(_is_node, graph.values())):
        raise ValueError(f"{what} is not a workflow in API format; to get one, {EXPORT}")
    return graph


def _is_node(node: Any) -> bool:
    return (
        isinstance(node, dict)
        and isinstance(node.get("class_type"), str)
        and isinstance(node.get("inputs"), dict)
    )


def loaders(graph: Graph, file: str) -> list[tuple[str, str]]:
    """(node id, input) of each node that loads such a file; a graph without one is refused."""
    kind = mimetypes.guess_type(file)[0] or ""
    kind = kind if kind.startswith(("image/", "video/")) else ""
    there = {node["class_type"] for node in graph.values()} & set(LOADERS)
    fits = {name for name in there if kind.startswith(LOADERS[name][1])}
    if not fits and (not kind or kind in ANIMATED):
        fits = there
    if not there:
        raise ValueError(
            f"the workflow has no {' or '.join(LOADERS)}, so it would make nothing of {file}; choose another "
            "workflow"
        )
    if not fits:
        wanted = "an image" if LOADERS[min(there)][1] == "image" else "a video"
        raise ValueError(
            f"the workflow loads {wanted} ({min(there)}), and {file} is not; give it {wanted}, or choose "
            "another workflow"
        )
    if len(fits) > 1:
        raise ValueError(
            f"the workflow loads images and videos, and {file} may be either; give it a suffix such as .jpg "
            "or .mp4"
        )
    return [
        (key, LOADERS[node["class_type"]][0]) for key, node in graph.items() if node["class_type"] in fits
    ]


def set_photo(graph: Graph, name: str) -> Graph:
    """The workflow with its loaders reading this photo or video of the server;
    the one given stays as it is.
    """
    changed = json.loads(json.dumps(graph))
    for key, field in loaders(graph, name):
        changed[key]["inputs"][field] = name
    return changed


def set_input(graph: Graph, words: str) -> Graph:
    """The workflow with one value written into it, "NODE.INPUT=VALUE"; the one given stays as it is.

    NODE is a class or a node's id. A text stays a text, anything else is read as JSON;
    @FILE is what a file says.
    """
    place, given, value = words.partition("=")
    node, _, name = place.strip().rpartition(".")
    found = [key for key, entry in graph.items() if node in (key, entry["class_type"])]
    if not given or not node:
        raise ValueError(
            f"{words!r} sets nothing; write it as NODE.INPUT=VALUE, such as PureSVDSample.seed=3"
        )
    if not any(name in graph[key]["inputs"] for key in found):
        there = sorted({entry["class_type"] for entry in graph.values()})
        there = sorted(graph[found[0]]["inputs"]) if found else there
        raise ValueError(f"the workflow has no {place.strip()}; choose from {', '.join(there)}")
    text = _said(value)
    changed = json.loads(json.dumps(graph))
    for key in found:
        now = graph[key]["inputs"].get(name)
        if isinstance(now, list):
            raise ValueError(f"{place.strip()} is wired to another node; choose an input that holds a value")
        changed[key]["inputs"][name] = text if isinstance(now, str) else _number(place.strip(), text)
    return changed


def _said(value: str) -> str:
    if not value.startswith("@"):
        return value
    try:
        return Path(value[1:]).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ValueError(f"{value[1:]} cannot be read as text; give a file that holds the value") from error


def _number(place: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError(f"{place} cannot be {text!r}; give a value such as 3, 0.5, true or a list") from None


def videos(job: dict[str, Any]) -> list[dict[str, str]]:
    """The video files among a job's outputs, in node order."""
    return [item for _, item, animated in _files(job) if animated or item["filename"].lower().endswith(VIDEO)]


def described(job: dict[str, Any]) -> str:
    """What a job made, for one that made no video."""
    names = [f"{item['filename']} (node {key})" for key, item, _ in _files(job)]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"but {', '.join(names[:3])}{more}" if names else "and no other file either"


def _files(job: dict[str, Any]) -> list[tuple[str, dict[str, str], bool]]:
    """(node id, file, whether its pictures move) of everything that a job wrote,
    in the order of its workflow
    """
    outputs = job.get("outputs") or {}
    order = [key for key in (job.get("workflow") or {}).get("prompt") or {} if key in outputs]
    return [
        (key, item, (True in node["animated"]) if isinstance(node.get("animated"), list) else False)
        for key in dict.fromkeys((*order, *outputs))  # the server lists them as they were finished
        if isinstance(node := outputs[key], dict)
        for items in node.values()
        if isinstance(items, list)
        for item in items
        if isinstance(item, dict) and isinstance(item.get("filename"), str)
    ]
