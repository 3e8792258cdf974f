"""How much memory a pass through the U-Net takes beyond its weights."""

from __future__ import annotations

from .configs import UNetConfig

# Tensors alive at the peak, in full-size feature maps n h w model_channels; measured on a CPU in float32 and
# measured again by tests. With attention at the full size, as all released checkpoints have, they live in the
# feed-forward layer of the last block; without it, as in the embedded checkpoint, in the last convolutions.
ATTENTIVE, PLAIN = 18.4, 12.2


def activations(config: UNetConfig, n: int, h: int, w: int, *, itemsize: int) -> int:
    """Bytes at the peak of a pass over n frames of h x w latents."""
    maps = ATTENTIVE if config.attention_levels[0] else PLAIN
    return int(maps * n * h * w * config.model_channels * itemsize)
