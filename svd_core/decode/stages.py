"""The decoder as stages: per-frame layers that run fused, and a block that mixes all frames of the clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ..models.vae_blocks import ResBlock, Upsample, VideoResBlock
from .half import call

if TYPE_CHECKING:
    from ..models.vae import VAE


@dataclass
class Stage:
    """Per-frame layers, and the block whose temporal half follows them (none before the frames)."""

    layers: list[nn.Module]
    block: VideoResBlock | None
    channels: int  # of the result
    scale: int  # its resolution, in latents
    batch: int  # frames that together are no larger than one of the full resolution

    def spatial(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """The per-frame layers: n c h w -> n c' h' w'. `out`, which may overlap x,
        holds the result if it can.
        """
        *most, last = self.layers
        for layer in most:  # each input is freed before the next layer runs
            x = call(layer, x)
        if not isinstance(last, SpatialHalf) or out is None:
            return call(last, x)
        return call(last, x, out=out)

    def groups(self, t: int) -> list[slice]:
        """Cuts of t frames that hold no more than one frame of the full resolution."""
        return _even(t, self.batch)

    def slabs(self, t: int, h: int) -> list[slice]:
        """Cuts of the height h · scale that hold, for t frames, at most one frame of the full resolution."""
        H = h * self.scale
        return _even(H, max(1, H * self.batch // t))

    def steps(self, t: int, h: int) -> int:
        """Groups of frames, and slabs of both passes over the temporal half."""
        return len(self.groups(t)) + (0 if self.block is None else 2 * len(self.slabs(t, h)))


def _even(n: int, most: int) -> list[slice]:
    """The fewest, about equal cuts of n of at most `most`; small ones would be heap memory, kept if freed."""
    parts = -(-n // most)
    return [slice(n * i // parts, n * (i + 1) // parts) for i in range(parts)]


class SpatialHalf(nn.Module):
    """The spatial half of a block, with the upsampling before it where there is one.

    Upsampled, it holds the largest tensor of the decoder, and holds it alone.
    """

    def __init__(self, block: ResBlock, upsample: Upsample | None):
        super().__init__()
        self.block, self.upsample = block, upsample

    def forward(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """n c h w -> n c' h w, or 2h 2w. `out`, which may overlap x,
        is used as memory and holds the result.
        """
        if self.upsample is None:
            return self.block.spatial(x, out)
        block = self.block
        x = self.upsample(x)
        skip = x if block.nin_shortcut is None else block.nin_shortcut(x)
        skip = skip if out is None else out.copy_(skip)
        h = block.silu(block.norm1(x, inplace=block.nin_shortcut is not None))
        del x
        h = block.conv1(h)
        h = block.silu(block.norm2(h, inplace=True))
        h = block.conv2(h)
        return h.add_(skip) if out is None else out.add_(h)


def stages(vae: VAE) -> list[Stage]:
    """The decoder, cut after the spatial half of every block that mixes frames."""
    first, narrow = vae.first_stage_model, vae.config.ch * vae.config.ch_mult[0]
    full = 2 ** (len(vae.config.ch_mult) - 1)
    layers: list[nn.Module] = [first.post_quant_conv] if first.post_quant_conv is not None else []
    result, scale = [], 1
    for module in first.decoder.layers():
        if isinstance(module, ResBlock):
            before = layers[-1] if layers else None
            upsample = before if isinstance(before, Upsample) else None
            if upsample is not None:
                layers.pop()
            layers.append(SpatialHalf(module, upsample))
        else:
            layers.append(module)
        scale *= 2 if isinstance(module, Upsample) else 1
        if isinstance(module, VideoResBlock):
            c = module.c_out
            result.append(Stage(layers, module, c, scale, max(1, (full // scale) ** 2 * narrow // c)))
            layers = []
    return [*result, Stage(layers, None, 3, scale, 1)]
