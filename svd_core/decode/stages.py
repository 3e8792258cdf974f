"""The decoder as stages: per-frame layers that run fused, each ended by a block that mixes all frames of the clip."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ..models.vae import VAE
from ..models.vae_blocks import ResBlock, Upsample, VideoResBlock


@dataclass
class Stage:
    """Per-frame layers, and the block whose temporal half follows them (none before the frames themselves)."""

    layers: list[nn.Module]
    block: VideoResBlock | None
    channels: int  # of the result
    scale: int  # its resolution, in latents
    batch: int  # frames that together are no larger than one of the full resolution

    def groups(self, t: int) -> list[slice]:
        """Cuts of t frames that hold no more than one frame of the full resolution."""
        return _even(t, self.batch)

    def slabs(self, t: int, h: int) -> list[slice]:
        """Cuts of the height h · scale that hold, for t frames, no more than one frame of the full resolution."""
        H = h * self.scale
        return _even(H, max(1, H * self.batch // t))

    def steps(self, t: int, h: int) -> int:
        """Groups of frames, and slabs of both passes over the temporal half."""
        return len(self.groups(t)) + (0 if self.block is None else 2 * len(self.slabs(t, h)))


def _even(n: int, most: int) -> list[slice]:
    """Cuts of n into the fewest parts of at most `most`, about equal: small ones would be heap memory, kept once freed."""
    parts = -(-n // most)
    return [slice(n * i // parts, n * (i + 1) // parts) for i in range(parts)]


class Raise(nn.Module):
    """An upsampling and the spatial half of the block after it, which holds the largest tensor of the decoder alone."""

    def __init__(self, upsample: Upsample, block: ResBlock):
        super().__init__()
        self.upsample, self.block = upsample, block

    def forward(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        return self.block(x, upsample=self.upsample, out=out)


def stages(vae: VAE) -> list[Stage]:
    """The decoder, cut after the spatial half of every block that mixes frames."""
    first, narrow = vae.first_stage_model, vae.config.ch * vae.config.ch_mult[0]
    full = 2 ** (len(vae.config.ch_mult) - 1)
    result, layers, scale = [], [first.post_quant_conv] if first.post_quant_conv is not None else [], 1
    for module in first.decoder.stages():
        raised = bool(layers) and isinstance(layers[-1], Upsample)
        layers.append(Raise(layers.pop(), module) if raised else module)
        scale *= 2 if isinstance(module, Upsample) else 1
        if isinstance(module, VideoResBlock):
            c = module.conv2.out_channels
            result.append(Stage(layers, module, c, scale, max(1, (full // scale) ** 2 * narrow // c)))
            layers = []
    return [*result, Stage(layers, None, first.decoder.conv_out.out_channels, scale, 1)]
