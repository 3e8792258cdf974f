"""The CLIP image encoder (ViT-H/14 in SVD) and the reference's whole-frame preprocessing.

Attribute names equal transformers' `CLIPVisionModelWithProjection`, so that each parameter sits in a leaf
module; `keys` maps the OpenCLIP names of single files onto them.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from . import ops as core_ops
from .configs import CLIPConfig
from .hooks import NO_HOOKS, Hooks
from .ops import Ops

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int, *, ops: Ops, **factory: Any):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj = (ops.Linear(width, width, **factory) for _ in range(2))
        self.v_proj, self.out_proj = (ops.Linear(width, width, **factory) for _ in range(2))

    def forward(self, x: Tensor, hooks: Hooks) -> Tensor:
        """n s c -> n s c"""
        q, k, v = (
            rearrange(f(x), "n s (k d) -> n k s d", k=self.heads)
            for f in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(rearrange(hooks.attention(q, k, v), "n k s d -> n s (k d)"))


class MLP(nn.Module):
    def __init__(self, width: int, inner: int, *, ops: Ops, **factory: Any):
        super().__init__()
        self.fc1 = ops.Linear(width, inner, **factory)
        self.fc2 = ops.Linear(inner, width, **factory)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Layer(nn.Module):
    def __init__(self, config: CLIPConfig, *, ops: Ops, **factory: Any):
        super().__init__()
        self.layer_norm1 = ops.LayerNorm(config.width, **factory)
        self.self_attn = SelfAttention(config.width, config.heads, ops=ops, **factory)
        self.layer_norm2 = ops.LayerNorm(config.width, **factory)
        self.mlp = MLP(config.width, config.mlp, ops=ops, **factory)

    def forward(self, x: Tensor, hooks: Hooks) -> Tensor:
        """n s c -> n s c"""
        x = x + self.self_attn(self.layer_norm1(x), hooks)
        return x + self.mlp(self.layer_norm2(x))


class Embeddings(nn.Module):
    """A class token and the patches of an image, each plus its learned position."""

    def __init__(self, config: CLIPConfig, *, ops: Ops, **factory: Any):
        super().__init__()
        tokens = (config.image_size // config.patch) ** 2 + 1
        self.class_embedding = nn.Parameter(torch.zeros(config.width, **factory))
        self.patch_embedding = ops.Conv2d(
            3, config.width, config.patch, stride=config.patch, bias=False, **factory
        )
        self.position_embedding = ops.Embedding(tokens, config.width, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """n 3 S S -> n (1 + patches) c"""
        patches = rearrange(self.patch_embedding(x), "n c h w -> n (h w) c")
        token = self.class_embedding.to(patches).expand(len(x), 1, -1)
        tokens = torch.cat([token, patches], dim=1)
        return tokens + self.position_embedding(torch.arange(tokens.shape[1], device=x.device)).to(tokens)


class Encoder(nn.Module):
    def __init__(self, config: CLIPConfig, **kw: Any):
        super().__init__()
        self.layers = nn.ModuleList([Layer(config, **kw) for _ in range(config.layers)])


class Transformer(nn.Module):
    def __init__(self, config: CLIPConfig, *, ops: Ops, **factory: Any):
        super().__init__()
        self.embeddings = Embeddings(config, ops=ops, **factory)
        self.pre_layrnorm = ops.LayerNorm(config.width, **factory)  # the checkpoint's spelling
        self.encoder = Encoder(config, ops=ops, **factory)
        self.post_layernorm = ops.LayerNorm(config.width, **factory)


class CLIPVision(nn.Module):
    """Image encoder: pre-norm transformer, exact GELU, projected class token."""

    def __init__(
        self, config: CLIPConfig, *, ops: Ops = core_ops, dtype: torch.dtype | None = None, device: Any = None
    ):
        super().__init__()
        factory = dict(dtype=dtype, device=device)
        self.config = config
        self.vision_model = Transformer(config, ops=ops, **factory)
        self.visual_projection = ops.Linear(config.width, config.projection, bias=False, **factory)

    def hidden(self, x: Tensor, hooks: Hooks = NO_HOOKS) -> tuple[Tensor, Tensor]:
        """n 3 S S, normalised -> token states after the last layer but one and after the last: n s c"""
        model = self.vision_model
        h = model.pre_layrnorm(model.embeddings(x))
        for layer in model.encoder.layers[:-1]:
            h = layer(h, hooks)
        return h, model.encoder.layers[-1](h, hooks)

    def project(self, last: Tensor) -> Tensor:
        """n s c, the last hidden state -> n e, the projected class token, not normalised."""
        return self.visual_projection(self.vision_model.post_layernorm(last[:, 0]))

    def forward(self, x: Tensor, hooks: Hooks = NO_HOOKS) -> Tensor:
        """n 3 S S, normalised -> image embeddings n e"""
        return self.project(self.hidden(x, hooks)[1])


def normalize(x: Tensor) -> Tensor:
    """n 3 h w in [0, 1] -> the same in units of CLIP's training mean and deviation."""
    mean, std = (torch.tensor(v, dtype=x.dtype).view(3, 1, 1) for v in (MEAN, STD))
    mean, std = (v.to(x.device, non_blocking=x.is_cuda) for v in (mean, std))
    return (x - mean) / std


def preprocess(image: Tensor, size: int = 224) -> Tensor:
    """Whole frame to a square: n 3 H W in [-1, 1] -> n 3 size size, normalised.

    Gaussian blur where the frame is larger, bicubic with aligned corners, no crop,
    no clamp (sgm's kornia route).
    """
    factors = [d / size for d in image.shape[2:]]
    if max(factors) > 1:
        image = _blur(image.float(), [max((f - 1) / 2, 0.001) for f in factors])
    x = F.interpolate(image.float(), size=(size, size), mode="bicubic", align_corners=True)
    return normalize((x + 1) / 2)


def _blur(x: Tensor, sigmas: list[float]) -> Tensor:
    """Separable Gaussian over (H, W), kernel max(4 sigma, 3) made odd, reflected borders."""
    n, c = x.shape[:2]
    for axis, sigma in enumerate(sigmas):
        taps = int(max(4.0 * sigma, 3.0))
        taps += 1 - taps % 2
        offsets = torch.arange(taps, dtype=torch.float32, device=x.device) - taps // 2
        kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
        kernel = (kernel / kernel.sum()).view((1, 1, -1, 1) if axis == 0 else (1, 1, 1, -1))
        pad = (0, 0, taps // 2, taps // 2) if axis == 0 else (taps // 2, taps // 2, 0, 0)
        x = F.conv2d(F.pad(x.reshape(n * c, 1, *x.shape[2:]), pad, mode="reflect"), kernel).reshape(
            n, c, *x.shape[2:]
        )
    return x
