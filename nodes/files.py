"""The checkpoints to choose from: the embedded one, files of the host's folders, diffusers folders."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import folder_paths
from comfy_api.latest import ui

EMBEDDED = "svd-nano (embedded)"
EMBEDDED_FILE = Path(__file__).resolve().parent.parent / "svd_core" / "nano" / "svd_nano.safetensors"
EMBEDDED_LORAS = EMBEDDED_FILE.parent / "loras"
DIFFUSERS = "diffusers/"
CHECKPOINTS = "checkpoints/"
NO_CHECKPOINT = "no checkpoint found"
WHERE = (
    "put svd.safetensors or svd_xt.safetensors into ComfyUI/models/checkpoints, or a diffusers folder into "
    "ComfyUI/models/diffusers"
)
WHERE_LORAS = "put it into ComfyUI/models/loras"
WHERE_CONTROLNETS = "put it into ComfyUI/models/controlnet"
NO_CONTROLNET = "no ControlNet found"
NO_LORA = "no LoRA found"
STATISTICS = "svd_statistics"  # folder below the host's models
STATISTICS_WHERE = (
    f"a safetensors file in ComfyUI/models/{STATISTICS} with Expectation_x_0 (frames x 4 x height/8 x "
    "width/8) and trCov_d"
)
DEPTH = 3  # folders below models/diffusers that are looked into


def checkpoints() -> list[str]:
    """Names for the checkpoint widget, never empty."""
    found = [EMBEDDED] if EMBEDDED_FILE.is_file() else []
    found += folder_paths.get_filename_list("checkpoints")
    found += [DIFFUSERS + name for name in sorted(diffusers_folders())]
    return found or [NO_CHECKPOINT]


def checkpoint_path(name: str) -> str:
    """The file or folder behind a name of `checkpoints`."""
    if chosen(name) == EMBEDDED and EMBEDDED_FILE.is_file():
        return str(EMBEDDED_FILE)
    if name.startswith(DIFFUSERS):
        folder = diffusers_folders().get(name[len(DIFFUSERS) :])
        if folder:
            return folder
    elif name != NO_CHECKPOINT:
        path = folder_paths.get_full_path("checkpoints", name)
        if path:
            return path
    raise ValueError(f"no checkpoint {name[:200]!r}: {WHERE}, then press R in the editor to refresh the list")


def chosen(name: str | None) -> str:
    """The name itself; a null that came in its place is refused."""
    if not isinstance(name, str):
        raise ValueError(f"the name of a file is {str(name)[:40]}; choose one from the list")
    return name


def parts(folder: str) -> list[str]:
    """Names for one part: files of its own folder, then whole checkpoints that hold the part too."""
    own = folder_paths.get_filename_list(folder)
    whole = [CHECKPOINTS + name for name in folder_paths.get_filename_list("checkpoints")]
    return own + whole or [NO_CHECKPOINT]


def part_path(folder: str, name: str) -> str:
    base, rest = (
        ("checkpoints", name[len(CHECKPOINTS) :]) if chosen(name).startswith(CHECKPOINTS) else (folder, name)
    )
    path = folder_paths.get_full_path(base, rest) if name != NO_CHECKPOINT else None
    if not path:
        raise ValueError(
            f"no file {name[:200]!r}: put it into ComfyUI/models/{folder}, then press R in the editor"
        )
    return path


def loras() -> list[str]:
    """Names for the LoRA widget, never empty: the host's own files, then the embedded model's cameras."""
    return [*folder_paths.get_filename_list("loras"), *embedded_loras()] or [NO_LORA]


def embedded_loras() -> dict[str, Path]:
    """Name -> file of the LoRAs that belong to the embedded checkpoint."""
    files = sorted(EMBEDDED_LORAS.glob("*.safetensors"))
    return {f"svd-nano camera {file.stem.rpartition('_')[2]} (embedded)": file for file in files}


def lora_path(name: str) -> str:
    """The file behind a name of `loras`."""
    if found := embedded_loras().get(chosen(name)):
        return str(found)
    path = folder_paths.get_full_path("loras", name) if name != NO_LORA else None
    if not path:
        raise ValueError(
            f"no LoRA {name[:200]!r}: {WHERE_LORAS}, then press R in the editor to refresh the list"
        )
    return path


def controlnets() -> list[str]:
    """Names for the ControlNet widget, never empty."""
    return list(folder_paths.get_filename_list("controlnet")) or [NO_CONTROLNET]


def controlnet_path(name: str) -> str:
    """The file behind a name of `controlnets`."""
    path = folder_paths.get_full_path("controlnet", chosen(name)) if name != NO_CONTROLNET else None
    if not path:
        raise ValueError(
            f"no ControlNet {name[:200]!r}: {WHERE_CONTROLNETS}, then press R in the editor to refresh the "
            "list"
        )
    return path


def statistics() -> list[str]:
    """Names of statistics files for the start of sampling."""
    return sorted(path.name for path in Path(folder_paths.models_dir, STATISTICS).glob("*.safetensors"))


def statistics_path(name: str) -> str:
    if name not in statistics():
        raise ValueError(f"no statistics {name[:200]!r}: put {STATISTICS_WHERE}, then press R in the editor")
    return str(Path(folder_paths.models_dir, STATISTICS, name))


def check_statistics(mean: str, statistics_name: str) -> None:
    """Whether the start that a mean asks for can be read."""
    if mean == "statistics":
        statistics_path(statistics_name)


def check(path_of: Callable[[str], str], *names: object) -> bool | str:
    """What a node's `validate_inputs` returns: True, or why a chosen file is not there. A name that is wired
    in is None.
    """
    try:
        for name in names:
            if name is not None:
                path_of(str(name))  # a client may send a number
    except ValueError as error:
        return str(error)
    return True


def stamp(path: str) -> str:
    """Changes when the file or a file of the folder does."""
    return ";".join(
        f"{file.name}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in members(Path(path))
    )


def members(entry: Path) -> list[Path]:
    """The file itself, or the files of a diffusers folder that say what it is."""
    if entry.is_file():
        return [entry]
    return sorted(entry.rglob("*.safetensors")) + sorted(entry.rglob("*.json"))


def diffusers_folders() -> dict[str, str]:
    """Relative name -> folder, for folders with a model_index.json up to DEPTH below models/diffusers."""
    found: dict[str, str] = {}
    for root in folder_paths.get_folder_paths("diffusers"):
        level = [Path(root)]
        for _ in range(DEPTH):
            level = [child for folder in level for child in _folders(folder)]
            for folder in level:
                if (folder / "model_index.json").is_file():
                    found.setdefault(folder.relative_to(root).as_posix(), str(folder))
    return found


def _folders(folder: Path) -> list[Path]:
    try:
        return [
            Path(entry.path)
            for entry in os.scandir(folder)
            if entry.is_dir() and not entry.name.startswith(".")
        ]
    except OSError:  # a folder that is missing or not readable offers nothing
        return []


def shown(images, cls=None) -> dict:
    """IMAGE as the host's temporary files, for the `ui` of a node.

    The host names them by Python's global generator; what others draw from it must not depend on us.
    """
    state = random.getstate()
    try:
        return ui.PreviewImage(images, cls=cls).as_dict()
    finally:
        random.setstate(state)
