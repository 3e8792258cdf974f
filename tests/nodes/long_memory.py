"""A long video by a small model in a process of its own: prints its frames and the peak of its memory."""

import asyncio
import importlib
import json
import os
import resource
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from scripts import server  # noqa: E402
from tests.make_checkpoint import write_checkpoint  # noqa: E402


def main(seconds: float, folder: Path) -> None:
    folder.mkdir(parents=True)
    host, base = os.environ.get("PURESVD_HOST") or os.environ["COMFYUI_PATH"], server.make_base(folder)
    write_checkpoint(base / "models" / "checkpoints" / "tiny.safetensors", dtype=torch.float32)
    sys.path.insert(0, host)
    args = importlib.import_module("comfy.cli_args").args
    args.cpu, args.base_directory = True, str(base)
    importlib.import_module("utils.extra_config")
    nodes = importlib.import_module("nodes")
    assert asyncio.run(nodes.load_custom_node(str(ROOT)))
    known = nodes.NODE_CLASS_MAPPINGS
    with torch.inference_mode():
        names = ("model", "clip_vision", "vae")
        loader = known["PureSVDLoadCheckpoint"]
        trio = dict(zip(names, loader.execute(ckpt_name="tiny.safetensors", weight_dtype="fp32").args))
        inputs = known["PureSVDLongVideo"].INPUT_TYPES()
        every = {**inputs["required"], **inputs.get("optional", {})}
        given = {name: spec[1]["default"] for name, spec in every.items() if "default" in spec[1]}
        image = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))
        given |= {"image": image, "seconds": seconds, "width": 64, "height": 64, "frames": 14, "steps": 1}
        z = known["PureSVDLongVideo"].execute(**trio, **given).args[0]["samples"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(json.dumps({"frames": len(z), "peak": peak}) + "\n")


if __name__ == "__main__":
    main(float(sys.argv[1]), Path(sys.argv[2]))
