"""The network F of SVD: a U-Net over a clip's frames whose every block is followed by one over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import ops as core_ops
from .configs import UNetConfig
from .hooks import NO_HOOKS, Hooks
from .ops import Ops, sinusoid
from .unet_blocks import Downsample, Mixer, Pass, SpatialVideoTransformer, Upsample, VideoResBlock


@dataclass
class Deep:
    """What enters the output block that `branch` blocks of skips lie outside of, besides the outermost one:
    n c h w. A pass leaves it here, or, where it is given, runs the blocks outside of it alone
    (DeepCache, 2312.00858).
    """

    branch: int = 0  # 0 to 10, of 12 blocks
    h: Tensor | None = None


def mlp(c_in: int, c_out: int, *, ops: Ops, **factory: Any) -> nn.Sequential:
    """Of sinusoids to an embedding: ... c_in -> ... c_out"""
    return nn.Sequential(ops.Linear(c_in, c_out, **factory), nn.SiLU(), ops.Linear(c_out, c_out, **factory))


def res_block(config: UNetConfig, c_in: int, c_out: int, *, ops: Ops, **factory: Any) -> VideoResBlock:
    """A residual block of the network's embedding width and norm groups."""
    return VideoResBlock(
        c_in, c_out, 4 * config.model_channels, groups=config.norm_groups, ops=ops, **factory
    )


def transformer(
    config: UNetConfig, c: int, wanted: bool = True, *, ops: Ops, **factory: Any
) -> list[nn.Module]:
    """One transformer, or none."""
    kw = dict(groups=config.norm_groups, ops=ops, **factory)
    return [SpatialVideoTransformer(c, config.context_dim, config.head_dim, **kw)] if wanted else []


class Encoder(nn.Module):
    """The half of the U-Net on the way down, with its middle; a ControlNet is this half once more."""

    def __init__(
        self, config: UNetConfig, *, ops: Ops = core_ops, dtype: torch.dtype | None = None, device: Any = None
    ):
        super().__init__()
        self.config = config
        factory = dict(dtype=dtype, device=device)
        emb = 4 * config.model_channels
        self.time_embed = mlp(config.model_channels, emb, ops=ops, **factory)
        self.label_emb = nn.Sequential(mlp(config.adm_in_channels, emb, ops=ops, **factory))
        c = config.model_channels
        self.input_blocks = nn.ModuleList([Block(ops.Conv2d(config.in_channels, c, 3, padding=1, **factory))])
        widths = [config.model_channels * m for m in config.channel_mult]
        for level, width in enumerate(widths):
            for _ in range(config.num_res_blocks):
                attention = transformer(config, width, config.attention_levels[level], ops=ops, **factory)
                self.input_blocks.append(Block(res_block(config, c, width, ops=ops, **factory), *attention))
                c = width
            if level < len(widths) - 1:
                self.input_blocks.append(Block(Downsample(c, ops=ops, **factory)))
        first, last = (res_block(config, c, c, ops=ops, **factory) for _ in range(2))
        self.middle_block = Block(first, *transformer(config, c, ops=ops, **factory), last)

    @property
    def skip_widths(self) -> list[int]:
        """Channels of each input block's output, in their order."""
        config = self.config
        widths = [config.model_channels * m for m in config.channel_mult]
        per_level = [
            [w] * (config.num_res_blocks + (level < len(widths) - 1)) for level, w in enumerate(widths)
        ]
        return [config.model_channels, *(w for level in per_level for w in level)]

    def encode(
        self,
        x: Tensor,
        c_noise: Tensor,
        context: Tensor,
        y: Tensor,
        *,
        t: int,
        time_context: Tensor | None = None,
        image_only: bool = False,
        features: Tensor | None = None,
        deep: Deep | None = None,
        hooks: Hooks = NO_HOOKS,
    ) -> tuple[Tensor, list[Tensor], Pass]:
        """Arguments as of `VideoUNet.forward` -> the middle's output, the skips,
        and what every block was given.

        `features` (b t) c h w join after the first convolution. Where `deep` holds what lies inside, it is
        what comes out, and the skips are those of the blocks outside.
        """
        emb = self.time_embed(sinusoid(c_noise, self.config.model_channels).to(x.dtype))
        emb = hooks.embedding(emb + self.label_emb(y.to(x.dtype)))
        context = context.to(x.dtype)
        time_context = context[::t] if time_context is None else time_context.to(x.dtype)
        mix = Mixer.weights([m for m in self.modules() if isinstance(m, Mixer)], like=emb)
        given = Pass(F.silu(emb), context, time_context, t, hooks, mix, image_only)

        h = x.contiguous(memory_format=core_ops.layout(x.device))
        skips = []
        known = None if deep is None else deep.h
        outer = len(self.input_blocks) if deep is None or known is None else deep.branch + 2
        for i, block in enumerate(self.input_blocks[:outer]):
            hooks.enter_block("input", i)
            h = block(h, given)
            if features is not None:
                h, features = h + features, None
            h, skip = hooks.after_input(h)
            skips.append(skip)
            del skip

        if known is not None:
            return known, skips, given
        hooks.enter_block("middle", 0)
        return hooks.after_middle(self.middle_block(h, given)), skips, given


class VideoUNet(Encoder):
    """F(c_in x; c_noise) predicts v; attributes are the checkpoint's keys after `model.diffusion_model.`."""

    def __init__(
        self, config: UNetConfig, *, ops: Ops = core_ops, dtype: torch.dtype | None = None, device: Any = None
    ):
        super().__init__(config, ops=ops, dtype=dtype, device=device)
        factory = dict(dtype=dtype, device=device)
        widths = [config.model_channels * m for m in config.channel_mult]
        skips = self.skip_widths
        c = widths[-1]

        def upsample(c: int, wanted: bool) -> list[nn.Module]:
            return [Upsample(c, ops=ops, **factory)] if wanted else []

        self.output_blocks = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            for i in range(config.num_res_blocks + 1):
                res = res_block(config, c + skips.pop(), width, ops=ops, **factory)
                attention = transformer(config, width, config.attention_levels[level], ops=ops, **factory)
                last = upsample(width, level > 0 and i == config.num_res_blocks)
                self.output_blocks.append(Block(res, *attention, *last))
                c = width
        norm = ops.GroupNorm(config.norm_groups, c, eps=1e-5, **factory)
        last = ops.Conv2d(c, config.out_channels, 3, padding=1, **factory)
        self.out = nn.Sequential(norm, core_ops.SiLU(), last)

    def forward(
        self,
        x: Tensor,
        c_noise: Tensor,
        context: Tensor,
        y: Tensor,
        *,
        t: int,
        time_context: Tensor | None = None,
        image_only: bool = False,
        deep: Deep | None = None,
        hooks: Hooks = NO_HOOKS,
    ) -> Tensor:
        """Predict v of b clips of t frames, rows ordered video by video.

        x (b t) 8 h w (c_in-scaled noisy latent, then the condition latent as it is), c_noise (b t),
        context (b t) l e, y (b t) a -> (b t) 4 h w. `time_context` b l e defaults to that of each clip's
        first frame; `image_only` skips every temporal layer, which is how single images are trained.
        `deep` takes or gives what lies inside its branch.
        """
        options: dict[str, Any] = dict(time_context=time_context, image_only=image_only, hooks=hooks)
        h, skips, given = self.encode(x, c_noise, context, y, t=t, deep=deep, **options)
        for i, block in enumerate(self.output_blocks[-len(skips) :], len(self.output_blocks) - len(skips)):
            if deep is not None and len(skips) == deep.branch + 2:
                deep.h = h
            hooks.enter_block("output", i)
            h = torch.cat(
                hooks.before_output(h, skips.pop()), dim=1
            )  # written this way, both halves can be freed
            h = block(h, given, size=skips[-1].shape[2:] if skips else None)
        return self.out(h)


class Block(nn.Sequential):
    """The layers between two skips."""

    def forward(self, h: Tensor, given: Pass, size: torch.Size | None = None) -> Tensor:
        """(b t) c h w -> (b t) c' h' w'; `size` is that of the skip to be joined after an upsampling."""
        for layer in self:
            if isinstance(layer, VideoResBlock | SpatialVideoTransformer):
                h = layer(h, given)
            elif isinstance(layer, Upsample):
                h = layer(h, size)
            else:
                h = layer(h)
        return h
