"""Make a clip again from its manifest on a running ComfyUI and say what differs.

python replay.py manifest.json [--server URL] [--timeout SECONDS]
"""

import argparse
import json
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

if sys.version_info < (3, 10):  # noqa: UP036  older ones still get this far
    sys.exit("this needs Python 3.10 or newer; this one is " + sys.version.split()[0])
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from clients import command, graph  # noqa: E402
from clients.comfyui import Client, Refused  # noqa: E402

PARTS = ("weights", "inputs", "seeds", "versions", "machine")
FRAMES = {"shape", "sha256"}
MARK = (
    "replay"  # an input no node has; the server ignores it, but takes the graph for a new one and runs it all
)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Make a clip again from its manifest and compare.")
    parser.add_argument("manifest", type=Path, help="the JSON file that Record Video Manifest wrote")
    parser.add_argument("--server", default="http://127.0.0.1:8188")
    command.add_options(parser)
    args = parser.parse_args(arguments)
    try:
        wanted = read(args.manifest)
        found = replay(Client(args.server), wanted, timeout=args.timeout)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(compare(wanted, found), flush=True)
    return int(wanted["frames"] != found["frames"])


def read(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError):
        manifest = None
    dicts = isinstance(manifest, dict) and [manifest.get(name) for name in ("frames", "graph", *PARTS)]
    if (
        not dicts
        or not all(isinstance(part, dict) for part in dicts)
        or not FRAMES <= set(manifest["frames"])
    ):
        raise ValueError(
            f"{path} is not a manifest; choose a JSON file written by the node Record Video Manifest"
        )
    graph.check(manifest["graph"], f"the graph of {path}")
    return manifest


def replay(client: Client, manifest: dict[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
    """Run the manifest's graph anew and return the manifest of that run."""
    prompt = {key: {**node, "inputs": dict(node["inputs"])} for key, node in manifest["graph"].items()}
    for node in prompt.values():
        node["inputs"][MARK] = uuid.uuid4().hex
    job = command.follow(client, prompt, timeout=timeout)
    made_by = {key for key, node in prompt.items() if node["class_type"] == "PureSVDManifest"}
    files = [item for key, node in job["outputs"].items() if key in made_by for item in node.get("files", ())]
    with tempfile.TemporaryDirectory(prefix="puresvd-") as folder:
        made = [read(client.download(item, Path(folder))) for item in files]
    if not made:
        raise Refused("the graph wrote no manifest; its node Record Video Manifest may have been taken out")
    same = [other for other in made if other["frames"] == manifest["frames"]]
    return (same or made)[0]  # a batch of photos writes several


def compare(wanted: dict[str, Any], found: dict[str, Any]) -> str:
    """One sentence: whether the frames are the same, and everything else that is not."""
    changed = [
        f"{part} {name} is {short(there.get(name))} instead of {short(here.get(name))}"
        for part in PARTS
        for here, there in [(wanted[part], found[part])]
        for name in sorted(set(here) | set(there))
        if here.get(name) != there.get(name)
    ]
    if wanted["frames"] == found["frames"]:
        return "the frames are the same, bit for bit" + (
            f", although {', '.join(changed)}" if changed else ""
        )
    if wanted["frames"]["shape"] != found["frames"]["shape"]:
        changed.append(f"the clip is {found['frames']['shape']} instead of {wanted['frames']['shape']}")
    why = (
        ", ".join(changed)
        or "weights, inputs, versions and machine do not; a node of the graph is not repeatable"
    )
    return f"the frames differ: {why}"


def short(value: object) -> str:
    """A hash by its beginning."""
    text = "absent" if value is None else str(value)
    return text[:12] if len(text) == 64 else text


if __name__ == "__main__":
    command.run(main)
