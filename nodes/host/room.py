"""Whether a clip fits into memory, before it is begun."""

from __future__ import annotations

from .between import free_memory

COPIES = 3  # of a clip in float32: frames, mask and what is made of them


def check(frames: int, height: int, width: int) -> None:
    """Refuse a clip of 3-channel float32 frames that free memory cannot hold."""
    needed, free = COPIES * frames * 3 * height * width * 4, free_memory()
    if needed > free:
        raise ValueError(
            f"{frames} frames of {width}x{height} need {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB of "
            "memory are free; scale the photo down to the video's size, or use fewer frames"
        )
