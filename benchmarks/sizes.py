"""What is run: named sizes of networks and clips."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Size:
    """What is run: a U-Net width, latent frames and height and width, and the same for the decoder."""

    model_channels: int
    t: int
    h: int
    w: int
    vae_ch: int
    vae_h: int
    vae_w: int


SIZES = {
    "tiny": Size(64, 4, 8, 16, 32, 8, 16),
    "small": Size(192, 14, 24, 40, 128, 16, 28),
    "clip": Size(192, 14, 32, 56, 128, 32, 56),
    "released": Size(320, 14, 32, 56, 128, 32, 56),
    "large": Size(64, 4, 8, 16, 32, 64, 112),  # frames of the bytes of clip for a quarter of the work
    "full": Size(320, 14, 72, 128, 128, 72, 128),
    "full-xt": Size(320, 25, 72, 128, 128, 72, 128),
}


def sized(name: str) -> Size:
    """A named size, or one with another number of frames: "small" or "small/28"."""
    name, _, frames = name.partition("/")
    return replace(SIZES[name], t=int(frames)) if frames else SIZES[name]
