"""What a result depends on besides the graph: versions, processor and number format."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import comfy.model_management
import comfyui_version
import torch

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def versions() -> dict[str, str]:
    own = re.search(r'^version = "(.+?)"', PROJECT.read_text(encoding="utf-8"), re.M)
    return {
        "PureSVD": own.group(1) if own else "unknown",
        "ComfyUI": comfyui_version.__version__,
        "torch": torch.__version__,
        "Python": platform.python_version(),
    }


def machine(model=None) -> dict[str, str | int]:
    """The device, and what decides on the order in which a CPU adds; `model` is a MODEL or None."""
    mm = comfy.model_management
    device = mm.get_torch_device()
    found: dict[str, str | int] = {"device": device.type}
    if device.type == "cpu":
        found["instructions"] = torch.backends.cpu.get_cpu_capability()
        found["threads"] = torch.get_num_threads()
    else:
        found["device"] = mm.get_torch_device_name(device)
    if model is not None:
        found["U-Net weights"] = _name(model.model_dtype())
        found["U-Net arithmetic"] = _name(model.model.get_dtype_inference())
    return found


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
