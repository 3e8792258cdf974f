"""The host's patches and control residuals at the points where its own U-Net offers them."""

from __future__ import annotations

import logging

import torch
from comfy.cli_args import args
from comfy.ldm.modules import attention as host_attention
from torch import Tensor

from ...svd_core.models.configs import UNetConfig
from ...svd_core.models.hooks import Hooks

ATTENTION_PATCHES = (
    "attn1_patch",
    "attn2_patch",
    "attn1_output_patch",
    "attn2_output_patch",
    "middle_patch",
)


def _backend(device: torch.device):
    """The attention the user chose; a CPU where nothing was chosen gets torch's,
    about twice as fast as the host's.
    """
    chosen = host_attention.optimized_attention
    by_default = chosen is host_attention.attention_sub_quad and not args.use_quad_cross_attention
    return host_attention.attention_pytorch if by_default and device.type == "cpu" else chosen


class HostHooks(Hooks):
    """One forward of the U-Net under the host's `transformer_options` and `control`."""

    def __init__(self, options: dict, control: dict | None, *, config: UNetConfig, inputs: dict):
        self.options = options
        self.patches = options.get("patches", {})
        self.replacements = options.get("patches_replace", {})
        self.control = control or {}
        self.config = config
        self.inputs = inputs  # what a middle_block_after_patch is shown: x, emb, context, y, timesteps
        options["original_shape"] = list(inputs["x"].shape)
        options["transformer_index"] = 0

    # Attention

    def attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """b heads n d -> b heads n d by the backend the user chose for the host."""
        # some backends ignore skip_output_reshape for large b, so the heads are split off again here
        heads = q.shape[1]
        out = _backend(q.device)(
            q, k, v, heads, attn_precision=torch.float32, skip_reshape=True, transformer_options=self.options
        )
        return out.unflatten(-1, (heads, -1)).transpose(1, 2)

    def patched(self) -> bool:
        return any(self.replacements.get(name) for name in ("attn1", "attn2")) or any(
            self.patches.get(name) for name in ATTENTION_PATCHES
        )

    def attention_input(self, name: str, x: Tensor, context: Tensor, value: Tensor):
        for patch in self.patches.get(f"{name}_patch", ()):
            x, context, value = patch(x, context, value, self._extra(x))
        return x, context, value

    def attend(self, name: str, q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        """b n (heads d) -> b n (heads d), unsplit as the host calls it:
        patches may change b and n of q alone.
        """
        table, block = self.replacements.get(name, {}), self.options["block"]
        replacement = table.get((*block, self.options["block_index"]), table.get(block))
        if replacement is not None:
            return replacement(q, k, v, self._extra(q))
        return host_attention.optimized_attention(
            q, k, v, heads, attn_precision=torch.float32, transformer_options=self.options
        )

    def attention_output(self, name: str, x: Tensor) -> Tensor:
        for patch in self.patches.get(f"{name}_output_patch", ()):
            x = patch(x, self._extra(x))
        return x

    def after_self_attention(self, x: Tensor) -> Tensor:
        for patch in self.patches.get("middle_patch", ()):
            x = patch(x, self._extra(x))
        return x

    def _extra(self, x: Tensor) -> dict:
        d = self.config.head_dim
        extra = {
            key: value for key, value in self.options.items() if key not in ("patches", "patches_replace")
        }
        return {**extra, "n_heads": x.shape[-1] // d, "dim_head": d, "attn_precision": torch.float32}

    # Blocks

    def embedding(self, emb: Tensor) -> Tensor:
        for patch in self.patches.get("emb_patch", ()):
            emb = patch(emb, self.config.model_channels, self.options)
        self.inputs["emb"] = emb
        return emb

    def enter_block(self, stage: str, index: int) -> None:
        self.options["block"] = (stage, index)

    def enter_transformer(self, shape: tuple[int, ...]) -> None:
        self.options["activations_shape"] = list(shape)
        self.options["block_index"] = 0

    def leave_transformer(self) -> None:
        self.options["transformer_index"] += 1

    def after_input(self, h: Tensor) -> tuple[Tensor, Tensor]:
        h = self._controlled("input", h)
        for patch in self.patches.get("input_block_patch", ()):
            h = patch(h, self.options)
        skip = h
        for patch in self.patches.get("input_block_patch_after_skip", ()):
            h = patch(h, self.options)
        for block, join in self.control.get("after_skip", ()):
            if self.options["block"] == ("input", block):
                h = join(h)
        return h, skip

    def after_middle(self, h: Tensor) -> Tensor:
        h = self._controlled("middle", h)
        for patch in self.patches.get("middle_block_after_patch", ()):
            h = patch({"h": h, **self.inputs, "transformer_options": self.options})["h"]
        return h

    def before_output(self, h: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        skip = self._controlled("output", skip)
        for patch in self.patches.get("output_block_patch", ()):
            h, skip = patch(h, skip, self.options)
        return h, skip

    def _controlled(self, stage: str, h: Tensor) -> Tensor:
        residuals = self.control.get(stage) or []
        residual = residuals.pop() if residuals else None
        if residual is None:
            return h
        if residual.shape[1:] != h.shape[1:]:
            found, wanted = tuple(residual.shape), tuple(h.shape)
            logging.warning("a control residual of shape %s does not fit %s and is left out", found, wanted)
            return h
        return h + residual
