"""The points of a U-Net pass at which a host may act; the core knows nothing else of any host."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


class Hooks:
    """Every method here leaves the network as it is; a host overrides the ones it needs.

    `name` is "attn1" (self-attention) or "attn2" (cross-attention), `stage` is "input", "middle" or "output".
    """

    def attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """b heads n d -> b heads n d; the arguments may be strided views."""
        return F.scaled_dot_product_attention(q, k, v)

    def enter_block(self, stage: str, index: int) -> None:
        """Before each block of a stage."""

    def enter_transformer(self, shape: tuple[int, ...]) -> None:
        """Before each spatio-temporal transformer; shape is (n, c, h, w)."""

    def leave_transformer(self) -> None:
        """After each spatio-temporal transformer."""

    def embedding(self, emb: Tensor) -> Tensor:
        """The sum of the noise-level and vector embeddings, n e."""
        return emb

    def patched(self) -> bool:
        """Whether any of the five attention points below acts; if so every block takes the full path."""
        return False

    def attention_input(
        self, name: str, x: Tensor, context: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What queries, keys and values are projected from, each b n c."""
        return x, context, value

    def attend(self, name: str, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor | None:
        """Replacement of the attention itself, b n (heads d), or None to keep it."""
        return None

    def attention_output(self, name: str, x: Tensor) -> Tensor:
        """The projected result before it joins the residual stream, b n c."""
        return x

    def after_self_attention(self, x: Tensor) -> Tensor:
        """The residual stream between self- and cross-attention, b n c."""
        return x

    def after_input(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """After an input block: what goes on, and what is kept as its skip, n c h w each."""
        return h, h

    def after_middle(self, h: Tensor) -> Tensor:
        """After the middle block, n c h w."""
        return h

    def before_output(self, h: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        """Before an output block concatenates h and its skip, n c h w each."""
        return h, skip


NO_HOOKS = Hooks()
