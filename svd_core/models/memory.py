"""How much memory a pass through the U-Net takes beyond its weights."""

from __future__ import annotations

from .configs import UNetConfig

# Peak in full-size feature maps n h w model_channels, and bytes of the kernels' own; measured on a CPU in
# float32, and measured again by tests. With attention at the full size, as all released checkpoints have, the
# peak lies in the last block; without, as in the embedded one, maps are narrow and kernels copy more.
ATTENTIVE, PLAIN = 27.0, 42.0
KERNELS = 22 << 20


def activations(config: UNetConfig, n: int, h: int, w: int, *, itemsize: int) -> int:
    """Bytes at the peak of a pass over n frames of h x w latents."""
    maps = ATTENTIVE if config.attention_levels[0] else PLAIN
    return int(maps * n * h * w * config.model_channels * itemsize) + KERNELS
