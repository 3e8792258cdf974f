"""Files that are either whole or absent, and the state a killed run goes on from: safetensors plus JSON,
no pickles.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

MARK = "puresvd_training"


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary neighbour, then rename it; on failure the old file stays and the new one
    goes.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        raise OSError(
            f"{path} could not be written ({error}); free some disk space, the previous file is untouched"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def save(path: Path, tensors: dict[str, Tensor], facts: dict) -> None:
    """Write tensors and JSON facts as one file."""
    tensors = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    replace_file(path, lambda partial: save_file(tensors, partial, metadata={MARK: json.dumps(facts)}))


def read(path: Path) -> tuple[dict[str, Tensor], dict]:
    """What `save` wrote; anything else is refused in one sentence."""
    advice = f"move it away to start afresh, or name another folder; found in {path}"
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})[MARK])
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
    except KeyError:
        raise ValueError(
            f"the resume file is a safetensors file but no training state of ours; {advice}"
        ) from None
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"the resume file cannot be read ({error}); {advice}") from error


def take(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries below `prefix`, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
