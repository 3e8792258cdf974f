"""The state a killed run goes on from: safetensors plus JSON, no pickles."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..checkpoint.write import write_safetensors

MARK = "puresvd_training"


def save(path: Path, tensors: dict[str, Tensor], facts: dict) -> None:
    """Write tensors and JSON facts as one file."""
    write_safetensors(path, tensors, {MARK: json.dumps(facts)})


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
