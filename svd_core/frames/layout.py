"""What the frames of a clip look like: their shape and channels."""

from __future__ import annotations

from torch import Tensor


def check(frames: Tensor) -> None:
    if frames.ndim != 4 or 0 in frames.shape:
        raise ValueError(
            f"frames have shape {tuple(frames.shape)}; pass (frames, channels, height, width), none of them 0"
        )
    if not frames.is_floating_point():
        raise ValueError(f"frames are {frames.dtype}; divide by their white level to get values in 0..1")


def colours(frames: Tensor) -> int:
    """How many leading channels hold colour: alpha, the second or fourth, does not."""
    return 3 if frames.shape[1] >= 3 else 1
