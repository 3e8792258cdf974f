"""The network F of SVD: a U-Net over a clip's frames whose every block is followed by one over time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from . import ops as core_ops
from .configs import UNetConfig
from .hooks import NO_HOOKS, Hooks
from .ops import Ops
from .unet_blocks import Downsample, Pass, SpatialVideoTransformer, Upsample, VideoResBlock, sinusoid


def mlp(c_in: int, c_out: int, *, ops: Ops, **factory: Any) -> nn.Sequential:
    """Of sinusoids to an embedding: ... c_in -> ... c_out"""
    return nn.Sequential(ops.Linear(c_in, c_out, **factory), nn.SiLU(), ops.Linear(c_out, c_out, **factory))


class VideoUNet(nn.Module):
    """F(c_in x; c_noise): predicts v. Attribute names are the checkpoint's keys after `model.diffusion_model.`."""

    def __init__(
        self, config: UNetConfig, *, ops: Ops = core_ops, dtype: torch.dtype | None = None, device: Any = None
    ):
        super().__init__()
        self.config = config
        factory = dict(dtype=dtype, device=device)
        emb = 4 * config.model_channels
        widths = [config.model_channels * m for m in config.channel_mult]

        def res(c_in: int, c_out: int) -> VideoResBlock:
            return VideoResBlock(c_in, c_out, emb, groups=config.norm_groups, ops=ops, **factory)

        def transformer(c: int, wanted: bool = True) -> list[nn.Module]:
            kw = dict(groups=config.norm_groups, ops=ops, **factory)
            return [SpatialVideoTransformer(c, config.context_dim, config.head_dim, **kw)] if wanted else []

        def upsample(c: int, wanted: bool) -> list[nn.Module]:
            return [Upsample(c, ops=ops, **factory)] if wanted else []

        self.time_embed = mlp(config.model_channels, emb, ops=ops, **factory)
        self.label_emb = nn.Sequential(mlp(config.adm_in_channels, emb, ops=ops, **factory))
        skips = [c := config.model_channels]
        self.input_blocks = nn.ModuleList([Block(ops.Conv2d(config.in_channels, c, 3, padding=1, **factory))])
        for level, width in enumerate(widths):
            for _ in range(config.num_res_blocks):
                self.input_blocks.append(
                    Block(res(c, width), *transformer(width, config.attention_levels[level]))
                )
                skips.append(c := width)
            if level < len(widths) - 1:
                self.input_blocks.append(Block(Downsample(c, ops=ops, **factory)))
                skips.append(c)
        self.middle_block = Block(res(c, c), *transformer(c), res(c, c))
        self.output_blocks = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            for i in range(config.num_res_blocks + 1):
                attention = transformer(width, config.attention_levels[level])
                last = upsample(width, level > 0 and i == config.num_res_blocks)
                self.output_blocks.append(Block(res(c + skips.pop(), width), *attention, *last))
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
        hooks: Hooks = NO_HOOKS,
    ) -> Tensor:
        """Predict v of b clips of t frames, rows ordered video by video.

        x (b t) 8 h w (c_in-scaled noisy latent, then the condition latent as it is), c_noise (b t), context (b t) l e,
        y (b t) a -> (b t) 4 h w. `time_context` b l e defaults to that of each clip's first frame; `image_only` skips
        every temporal layer, which is how single images are trained.
        """
        emb = self.time_embed(sinusoid(c_noise, self.config.model_channels).to(x.dtype))
        emb = hooks.embedding(emb + self.label_emb(y.to(x.dtype)))
        context = context.to(x.dtype)
        time_context = context[::t] if time_context is None else time_context.to(x.dtype)
        given = Pass(emb, context, time_context, t, hooks, image_only)

        h = x.contiguous(memory_format=torch.channels_last)
        skips = []
        for i, block in enumerate(self.input_blocks):
            hooks.enter_block("input", i)
            h, skip = hooks.after_input(block(h, given))
            skips.append(skip)
            del skip

        hooks.enter_block("middle", 0)
        h = hooks.after_middle(self.middle_block(h, given))

        for i, block in enumerate(self.output_blocks):
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
