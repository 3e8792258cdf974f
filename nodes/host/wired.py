"""What a MODEL input may hold: the host lets any constant through that an HTTP client writes."""

from __future__ import annotations

import comfy.model_base


def check(model) -> None:
    """Refuse anything but a MODEL of SVD or SV3D, of this pack's loader or the host's."""
    inner = getattr(model, "model", model)
    if not isinstance(inner, comfy.model_base.SVD_img2vid):
        raise ValueError(
            f"this MODEL is {type(inner).__name__}, not Stable Video Diffusion; wire in the one of Load "
            "Video Checkpoint"
        )
