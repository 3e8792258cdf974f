"""Attention over the positions of a frame and over the frames at a position, pre-norm, with feed-forwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

if TYPE_CHECKING:
    from .hooks import Hooks
    from .ops import Ops

PIECE = 131072  # rows of a feed-forward layer at a time; fewer on a CPU, where they stay in the cache


class Attention(nn.Module):
    """Multi-head attention of b n c tokens over themselves or a context."""

    def __init__(self, c: int, c_context: int, head_dim: int, *, ops: Ops, **factory: Any):
        super().__init__()
        self.head_dim = head_dim
        self.to_q = ops.Linear(c, c, bias=False, **factory)
        self.to_k = ops.Linear(c_context, c, bias=False, **factory)
        self.to_v = ops.Linear(c_context, c, bias=False, **factory)
        self.to_out = nn.Sequential(ops.Linear(c, c, **factory), nn.Identity())

    def heads(self, x: Tensor) -> Tensor:
        """b n c -> b heads n d, a view"""
        return x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

    def forward(self, x: Tensor, hooks: Hooks) -> Tensor:
        """Self-attention over n: b n c -> b n c"""
        q, k, v = (self.heads(f(x)) for f in (self.to_q, self.to_k, self.to_v))
        return self.to_out(hooks.attention(q, k, v).transpose(1, 2).flatten(2))

    def over_time(self, x: Tensor, t: int, hooks: Hooks) -> Tensor:
        """Self-attention over frames at each position: (b t) s c -> b t s c,
        a view in the order b s t c of attention.
        """
        q, k, v = (
            rearrange(f(x), "(b t) s (k d) -> b s k t d", t=t, d=self.head_dim)
            for f in (self.to_q, self.to_k, self.to_v)
        )
        videos = [rearrange(hooks.attention(*qkv), "s k t d -> s t (k d)") for qkv in zip(q, k, v)]
        out = videos[0] if len(videos) == 1 else torch.cat(videos)
        return rearrange(self.to_out(out), "(b s) t c -> b t s c", s=x.shape[1])

    def constant(self, context: Tensor) -> Tensor:
        """Cross-attention to one token, whose softmax is 1: context b 1 e -> b 1 c for every query alike."""
        return self.to_out(self.to_v(context))

    def full(self, name: str, x: Tensor, context: Tensor, hooks: Hooks) -> Tensor:
        """Attention with every patch point of the host: x b n c, context b l e -> b n c"""
        x, context, value = hooks.attention_input(name, x, context, context)
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(value)
        out = hooks.attend(name, q, k, v, q.shape[-1] // self.head_dim)
        if out is None:
            out = hooks.attention(self.heads(q), self.heads(k), self.heads(v)).transpose(1, 2).flatten(2)
        return hooks.attention_output(name, self.to_out(out))


class GEGLU(nn.Module):
    def __init__(self, c: int, inner: int, *, ops: Ops, **factory: Any):
        super().__init__()
        self.proj = ops.Linear(c, 2 * inner, **factory)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        if plain():
            return F.gelu(gate) * value
        if x.device.type == "cpu":  # a gate of its own: the next product would copy the half of a wider one
            return F.gelu(gate).mul_(value)
        return torch.ops.aten.gelu_(gate).mul_(value)


class FeedForward(nn.Module):
    def __init__(self, c: int, *, ops: Ops, **factory: Any):
        super().__init__()
        self.net = nn.Sequential(
            GEGLU(c, 4 * c, ops=ops, **factory), nn.Identity(), ops.Linear(4 * c, c, **factory)
        )

    def forward(self, x: Tensor, norm: nn.Module) -> Tensor:
        """x + net(norm(x)), n s c; without gradients x is overwritten, in pieces,
        so that the 8c-wide activation is never whole.
        """
        piece = 2048 if x.device.type == "cpu" else PIECE
        if torch.is_grad_enabled() or plain() and x.shape[:-1].numel() <= piece:
            return self.net(norm(x)).add_(x)
        x = x.contiguous()
        for rows in x.view(-1, x.shape[-1]).split(piece):
            rows.add_(self.net(norm(rows)))
        return x


class SpatialBlock(nn.Module):
    """Self-attention, cross-attention and feed-forward over the positions of a frame, pre-norm."""

    def __init__(self, c: int, c_context: int, head_dim: int, *, ops: Ops, **factory: Any):
        super().__init__()
        self.attn1 = Attention(c, c, head_dim, ops=ops, **factory)
        self.ff = FeedForward(c, ops=ops, **factory)
        self.attn2 = Attention(c, c_context, head_dim, ops=ops, **factory)
        self.norm1, self.norm2, self.norm3 = (ops.LayerNorm(c, **factory) for _ in range(3))

    def forward(self, x: Tensor, context: Tensor, hooks: Hooks) -> Tensor:
        """x n s c, context n l e -> n s c"""
        if hooks.patched() or context.shape[1] > 1:
            return self.full(x, context, hooks)
        x = self.attn1(self.norm1(x), hooks).add_(x)
        x = added(x, self.attn2.constant(context))
        return self.ff(x, self.norm3)

    def full(self, x: Tensor, context: Tensor, hooks: Hooks) -> Tensor:
        """The same with any number of context tokens and the host's patches."""
        y = self.norm1(x)
        x = hooks.after_self_attention(x + self.attn1.full("attn1", y, y, hooks))
        x = x + self.attn2.full("attn2", self.norm2(x), context, hooks)
        return self.ff(x, self.norm3)


class TimeBlock(SpatialBlock):
    """A feed-forward, then a `SpatialBlock` whose tokens are the frames at one position."""

    def __init__(self, c: int, c_context: int, head_dim: int, *, ops: Ops, **factory: Any):
        super().__init__(c, c_context, head_dim, ops=ops, **factory)
        self.norm_in = ops.LayerNorm(c, **factory)
        self.ff_in = FeedForward(c, ops=ops, **factory)

    def forward(self, x: Tensor, context: Tensor, t: int, hooks: Hooks) -> Tensor:
        """x (b t) s c, which is overwritten, context b l e -> (b t) s c"""
        x = self.ff_in(x, self.norm_in)
        if hooks.patched() or context.shape[1] > 1:
            s = x.shape[1]
            columns = rearrange(x, "(b t) s c -> (b s) t c", t=t)
            columns = self.full(columns, context.repeat_interleave(s, dim=0), hooks)
            return rearrange(columns, "(b s) t c -> (b t) s c", s=s)
        clips = added(x.unflatten(0, (-1, t)), self.attn1.over_time(self.norm1(x), t, hooks))
        clips = added(clips, self.attn2.constant(context)[:, None])
        return self.ff(clips.flatten(0, 1), self.norm3)


def plain() -> bool:
    """Is a result to have memory of its own? Gradients need that, and a compiler plans memory by itself."""
    return torch.is_grad_enabled() or torch.compiler.is_compiling()


def added(x: Tensor, y: Tensor) -> Tensor:
    """x + y, in the memory of x unless a result is `plain`."""
    return x + y if plain() else x.add_(y)
