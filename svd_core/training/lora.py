"""LoRA under training: a frozen U-Net whose chosen linear layers get a change of low rank beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..adapters.names import NATIVE, PARTS, inert, part_of
from ..models.unet import VideoUNet
from ..models.unet_blocks import SpatialVideoTransformer, VideoResBlock

TRAINABLE = tuple(part for part in PARTS if part not in ("convolutions", "mixers"))


class Adapted(nn.Module):
    """base(x) + up down x, of which base is frozen; alpha equals the rank,
    so that nothing scales the product.
    """

    def __init__(self, base: nn.Linear, *, rank: int, generator: torch.Generator):
        super().__init__()
        c_out, c_in = base.weight.shape
        if rank > min(c_out, c_in):
            raise ValueError(
                f"rank {rank} is more than a layer of {c_in} to {c_out} has; use {min(c_out, c_in)} or less"
            )
        self.base = base
        self.down = nn.Parameter(torch.randn(rank, c_in, generator=generator) / rank)
        self.up = nn.Parameter(torch.zeros(c_out, rank))

    def forward(self, x: Tensor) -> Tensor:
        """... c_in -> ... c_out"""
        change = F.linear(F.linear(x, self.down.to(x.dtype)), self.up.to(x.dtype))
        return self.base(x) + change


def attach(unet: VideoUNet, *, parts: Sequence[str], rank: int, seed: int = 0) -> list[str]:
    """Freeze the U-Net and adapt the linear layers of `parts`; returns their names.
    Layers without effect are left out.
    """
    if unknown := set(parts) - set(TRAINABLE):
        raise ValueError(f"{sorted(unknown)[0]!r} cannot be trained; choose among {', '.join(TRAINABLE)}")
    unet.requires_grad_(False)
    names = [name for name, module in unet.named_modules() if _matrix(module) and part_of(name) in parts]
    idle, generator = set(inert(names)), torch.Generator().manual_seed(seed)
    chosen = [name for name in names if name not in idle]
    if not chosen:
        raise ValueError(f"this U-Net has no layers of {', '.join(parts)}; choose other parts")
    for name in chosen:
        parent, _, last = name.rpartition(".")
        owner = unet.get_submodule(parent)
        adapted = Adapted(getattr(owner, last), rank=rank, generator=generator)
        setattr(owner, last, adapted.to(next(unet.parameters()).device))
    return chosen


def _matrix(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim == 2 and not isinstance(module, nn.Embedding)


def tensors(parameters: Mapping[str, Tensor], rank: int) -> dict[str, Tensor]:
    """Trained factors, named as `attach` made them, in the names that our and the host's loaders know."""
    found = {}
    for name, tensor in parameters.items():
        module, _, half = name.rpartition(".")
        found[f"{NATIVE}{module}.lora_{half}.weight"] = tensor.detach().float()
        found[f"{NATIVE}{module}.alpha"] = torch.tensor(float(rank))
    return found


def save_memory(unet: VideoUNet) -> None:
    """Compute every block once more on the way back instead of keeping what happens inside."""
    for module in unet.modules():
        if isinstance(module, VideoResBlock | SpatialVideoTransformer):
            _checkpointed(module)


def _checkpointed(module: nn.Module) -> None:
    plain = module.forward

    def forward(*args: Any) -> Any:
        return checkpoint(plain, *args, use_reentrant=False) if torch.is_grad_enabled() else plain(*args)

    module.forward = forward  # type: ignore[method-assign]


def memory(unet: VideoUNet, *, frames: int, height: int, width: int) -> str:
    """What a run takes at least, in words: weights, adapters with averages and optimiser, blocks' inputs."""
    trained = sum(p.numel() for p in unet.parameters() if p.requires_grad)
    frozen = sum(p.numel() * p.element_size() for p in unet.parameters() if not p.requires_grad)
    config, positions = unet.config, frames * math.ceil(height / 8) * math.ceil(width / 8)
    inputs = 0.0
    for level, multiple in enumerate(config.channel_mult):
        blocks = (2 * config.num_res_blocks + 1) * (1 + config.attention_levels[level])
        inputs += blocks * multiple * config.model_channels * positions / 4**level
    inside = 40 * config.model_channels * positions  # of one block of the first level, forwards and backwards
    total = frozen + 20 * trained + 2 * (inputs + inside)
    return (
        f"{trained:,} parameters trained; at least {total / 2**30:.1f} GiB: weights {frozen / 2**30:.1f}, "
        f"adapters and optimiser {20 * trained / 2**30:.2f}, activations {2 * (inputs + inside) / 2**30:.1f}"
    )
