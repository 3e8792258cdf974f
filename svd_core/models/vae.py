"""The autoencoder: per-frame image encoder, temporal decoder, and the frame-wise decoder of some checkpoints.

Attribute names equal the single-file checkpoint's keys: `embedder` stands for
`conditioner.embedders.3.encoder` (SV3D: `.1.`), the encoder of the condition latent;
`first_stage_model` holds the decoder and a second encoder.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from . import ops as core_ops
from .configs import VAEConfig
from .ops import Ops
from .timeconv import time_conv, to_frames, to_time
from .vae_blocks import Downsample, Level, Middle, ResBlock, Upsample, VideoResBlock

SCALE = 0.18215  # diffusion runs on SCALE * mean; the condition latent stays unscaled


class Encoder(nn.Module):
    """Frames to the mean and log-variance of their latents."""

    def __init__(self, config: VAEConfig, *, ops: Ops, **factory: Any):
        super().__init__()
        kw = dict(groups=config.norm_groups, ops=ops, **factory)
        widths = [config.ch * m for m in config.ch_mult]
        self.conv_in = ops.Conv2d(3, config.ch, 3, padding=1, **factory)
        self.down = nn.ModuleList()
        c = config.ch
        for level, width in enumerate(widths):
            blocks = [ResBlock(c if i == 0 else width, width, **kw) for i in range(config.num_res_blocks)]
            last = level == len(widths) - 1
            self.down.append(
                Level(blocks, downsample=None if last else Downsample(width, ops=ops, **factory))
            )
            c = width
        self.mid = Middle(c, ResBlock, **kw)
        self.norm_out = ops.GroupNorm(config.norm_groups, c, eps=1e-6, **factory)
        self.silu = core_ops.SiLU()
        self.conv_out = ops.Conv2d(c, 2 * config.z_channels, 3, padding=1, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """n 3 H W in [-1, 1] -> n 2z H/8 W/8"""
        h = self.conv_in(x)
        for level in self.down.children():
            h = level(h)
        h = self.mid.block_2(self.mid.attn_1(self.mid.block_1(h)))
        return self.conv_out(self.silu(self.norm_out(h)))


def _conv_out_class(conv2d: type[nn.Module], ops: Ops, **factory: Any) -> type[nn.Module]:
    class ConvOut(conv2d):  # type: ignore[valid-type, misc]
        """A convolution over space whose child convolves its result over time;
        `forward` is the spatial half.
        """

        def __init__(self, c_in: int, c_out: int):
            super().__init__(c_in, c_out, 3, padding=1, **factory)
            self.time_mix_conv = time_conv(ops, c_out, c_out, **factory)

    return ConvOut


class Decoder(nn.Module):
    """Latents to frames; with `config.temporal` every residual block also mixes the frames of a clip."""

    def __init__(self, config: VAEConfig, *, ops: Ops, **factory: Any):
        super().__init__()
        kw = dict(groups=config.norm_groups, ops=ops, **factory)
        block = VideoResBlock if config.temporal else ResBlock
        widths = [config.ch * m for m in config.ch_mult]
        c = widths[-1]
        self.conv_in = ops.Conv2d(config.z_channels, c, 3, padding=1, **factory)
        self.mid = Middle(c, block, **kw)
        self.up = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            blocks = [block(c if i == 0 else width, width, **kw) for i in range(config.num_res_blocks + 1)]
            self.up.insert(0, Level(blocks, upsample=Upsample(width, ops=ops, **factory) if level else None))
            c = width
        self.norm_out = ops.GroupNorm(config.norm_groups, c, eps=1e-6, **factory)
        if config.temporal:
            self.conv_out = _conv_out_class(ops.Conv2d, ops, **factory)(c, 3)
        else:
            self.conv_out = ops.Conv2d(c, 3, 3, padding=1, **factory)
        self.silu = core_ops.SiLU()

    def layers(self) -> list[nn.Module]:
        """The modules in the order in which they are applied."""
        layers: list[nn.Module] = [self.conv_in, self.mid.block_1, self.mid.attn_1, self.mid.block_2]
        for level in reversed(list(self.up.children())):
            assert isinstance(level, Level)
            layers += level.layers()
        return [*layers, self.norm_out, self.silu, self.conv_out]

    def forward(self, z: Tensor, t: int) -> Tensor:
        """(b t) z h w -> (b t) 3 8h 8w about [-1, 1]; every frame depends on all t frames of its clip."""
        x = z
        for layer in self.layers():
            x = layer(x, t) if isinstance(layer, VideoResBlock) else layer(x)
        mix = self.time_mix()
        return x if mix is None else to_frames(mix(to_time(x, t)), x.shape[2])

    def time_mix(self) -> nn.Module | None:
        """The last convolution over time, where there is one."""
        return getattr(self.conv_out, "time_mix_conv", None)


class Posterior(nn.Module):
    """An encoder with its quant_conv, where a checkpoint has them."""

    def __init__(self, config: VAEConfig, *, encoder: bool, quant_conv: bool, ops: Ops, **factory: Any):
        super().__init__()
        z = config.z_channels
        self.encoder = Encoder(config, ops=ops, **factory) if encoder else None
        self.quant_conv = ops.Conv2d(2 * z, 2 * z, 1, **factory) if quant_conv else None

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """n 3 H W in [-1, 1] -> posterior mean and log-variance, each n z H/8 W/8"""
        assert self.encoder is not None, "VAE.encode chooses one that exists"
        h = self.encoder(x.contiguous(memory_format=core_ops.layout(x.device)))
        h = h if self.quant_conv is None else self.quant_conv(h)
        mean, logvar = h.chunk(2, dim=1)
        return mean, logvar.clamp(-30.0, 20.0)


class Autoencoder(Posterior):
    """The decoder, and beside it whatever else a checkpoint keeps under `first_stage_model`."""

    def __init__(self, config: VAEConfig, *, ops: Ops, **factory: Any):
        kept = dict(encoder=config.native_encoder, quant_conv=config.quant_conv)
        super().__init__(config, **kept, ops=ops, **factory)
        z = config.z_channels
        self.post_quant_conv = ops.Conv2d(z, z, 1, **factory) if config.post_quant_conv else None
        self.decoder = Decoder(config, ops=ops, **factory)


class VAE(nn.Module):
    """The autoencoders of an SVD or SV3D checkpoint."""

    def __init__(
        self, config: VAEConfig, *, ops: Ops = core_ops, dtype: torch.dtype | None = None, device: Any = None
    ):
        super().__init__()
        self.config = config
        factory: dict[str, Any] = dict(ops=ops, dtype=dtype, device=device)
        self.embedder = None
        if config.embedder:
            self.embedder = Posterior(config, encoder=True, quant_conv=config.embedder_quant_conv, **factory)
        self.first_stage_model = Autoencoder(config, **factory)

    def encoder_for(self, *, native: bool) -> Posterior:
        """The reference encoder (the condition embedder's) or ComfyUI's choice;
        the one that exists if only one does.
        """
        first, embedder = self.first_stage_model, self.embedder
        if embedder is None or (native and first.encoder is not None):
            return first
        return embedder

    def encode(self, x: Tensor, *, native: bool = False) -> Tensor:
        """n 3 H W in [-1, 1] -> the posterior mean, n z H/8 W/8, unscaled (condition latents are not scaled).

        Images are encoded one by one: memory is that of one, and no image's bytes depend on the others.
        """
        encoder = self.encoder_for(native=native)
        return torch.cat([encoder.moments(image)[0] for image in x.split(1)])

    def decode(self, z: Tensor, *, t: int) -> Tensor:
        """(b t) z h w, unscaled -> (b t) 3 8h 8w about [-1, 1], all frames at once;
        `decode.decode` bounds memory.
        """
        stage = self.first_stage_model
        z = z.contiguous(memory_format=torch.channels_last)
        return stage.decoder(z if stage.post_quant_conv is None else stage.post_quant_conv(z), t)
