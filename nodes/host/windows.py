"""The host's context windows over our MODEL: how many frames a window hands to the network."""

from __future__ import annotations


def resized(key: str, value, window):
    """A condition as one window needs it, None where the host's own slicing is right.

    The host counts a window without the frame that it puts in front of every window but the first.
    """
    if key != "num_video_frames":
        return None
    led = getattr(window, "causal_anchor_index", None) is not None
    return value._copy_with(len(window.index_list) + led)


def check(options: dict) -> None:
    window = options.get("context_window")
    if window is not None and getattr(window, "dim", 0) != 0:
        raise ValueError(
            f"context windows run over axis {window.dim}, the frames of a video are axis 0; set dim to 0 or "
            "use Long Video"
        )
