"""Photo to video over ComfyUI's HTTP interface with the standard library only.

python puresvd_client.py photo.jpg ... [--server http://127.0.0.1:8188] [--workflow FILE]
[--set NODE.INPUT=VALUE] [--out FOLDER] [--timeout SECONDS]
"""

import argparse
import sys
from functools import reduce
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036  older ones still get this far
    sys.exit("this needs Python 3.10 or newer; this one is " + sys.version.split()[0])
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from clients import command, graph, local  # noqa: E402
from clients.comfyui import NO_PROXY, Client, Refused, Unreachable  # noqa: E402
from clients.graph import WORKFLOW, set_photo, videos  # noqa: E402

__all__ = ["NO_PROXY", "WORKFLOW", "Client", "Refused", "Unreachable", "main", "set_photo", "videos"]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Turn a photo into a video on a running ComfyUI.")
    parser.add_argument(
        "photos",
        type=Path,
        nargs="+",
        metavar="photo",
        help="a photo, or a video where the workflow loads one",
    )
    parser.add_argument("--server", default="http://127.0.0.1:8188")
    parser.add_argument("--workflow", type=Path, default=WORKFLOW, help="a workflow in API format")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NODE.INPUT=VALUE",
        help="write a value into the workflow, such as PureSVDSample.seed=3 or PureSVDDrag.paths=@paths.json",
    )
    command.add_target(parser, Path("."), "default: here")
    command.add_options(parser)
    args = parser.parse_intermixed_args(arguments)
    try:
        target = local.target(args.out, overwrite=args.overwrite)
        prompt = reduce(graph.set_input, args.set, graph.read(args.workflow))
        client = Client(args.server)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    several = len(args.photos) > 1
    return max([one(client, prompt, photo, target, args.timeout, several) for photo in args.photos])


def one(
    client: Client, prompt: graph.Graph, photo: Path, target: local.Target, timeout: float | None, named: bool
) -> int:
    """Say the videos of one photo as they come, or what is wrong with it; returns the command's status."""
    try:
        for path in command.make(client, prompt, photo, target, timeout=timeout):
            print(path, flush=True)
    except BrokenPipeError:  # nobody reads our lines any more
        raise
    except (ValueError, OSError) as error:
        print(f"{photo}: {error}" if named else error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    command.run(main)
