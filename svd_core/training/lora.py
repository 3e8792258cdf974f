"""LoRA under training: a frozen U-Net whose chosen layers get a change of low rank beside them."""

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

TRAINABLE = tuple(part for part in PARTS if part != "mixers")


Base = nn.Linear | nn.Conv2d | nn.Conv3d


class Adapted(nn.Module):
    """base(x) + up down x, of which base is frozen; alpha equals the rank, so nothing scales the product.

    `down` has the shape of the base's weight with `rank` rows, or all that the layer has room for, so that it
    convolves as the base does; `up` mixes what it finds.
    """

    def __init__(self, base: Base, *, rank: int, generator: torch.Generator):
        super().__init__()
        c_out, *rest = base.weight.shape
        rank = min(rank, c_out, math.prod(rest))
        self.base = base
        self.down = nn.Parameter(torch.randn(rank, *rest, generator=generator) / rank)
        self.up = nn.Parameter(torch.zeros(c_out, rank, *(1 for _ in rest[1:])))

    def forward(self, x: Tensor) -> Tensor:
        """... c_in -> ... c_out, or n c_in h w -> n c_out h w"""
        down, up = self.down.to(x.dtype), self.up.to(x.dtype)
        if isinstance(self.base, nn.Linear):
            return self.base(x) + F.linear(F.linear(x, down), up)
        found = self.base._conv_forward(x, down, None)
        return self.base(x) + F.conv2d(found, up.flatten(1)[:, :, None, None])


def attach(unet: VideoUNet, *, parts: Sequence[str], rank: int, seed: int = 0) -> list[str]:
    """Freeze the U-Net and adapt the layers of `parts`; returns their names.
    Layers without effect are left out.
    """
    if unknown := set(parts) - set(TRAINABLE):
        raise ValueError(f"{sorted(unknown)[0]!r} cannot be trained; choose among {', '.join(TRAINABLE)}")
    unet.requires_grad_(False)
    names = [name for name, module in unet.named_modules() if _changes(module) and part_of(name) in parts]
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


@torch.no_grad()
def begin(unet: VideoUNet, changes: Mapping[str, Tensor]) -> None:
    """Let adapted layers start from what is nearest to these changes of their weights (Eckart and Young)."""
    for name, change in changes.items():
        layer = unet.get_submodule(name)
        assert isinstance(layer, Adapted), name
        U, S, V = torch.linalg.svd(change.flatten(1), full_matrices=False)
        rank, root = len(layer.down), S.sqrt()
        layer.up.copy_((U * root)[:, :rank].reshape(layer.up.shape))
        layer.down.copy_((root[:, None] * V)[:rank].reshape(layer.down.shape))


def _changes(module: nn.Module) -> bool:
    """Whether it has a matrix or a kernel."""
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim >= 2 and not isinstance(module, nn.Embedding)


def tensors(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Trained factors, named as `attach` made them, in the names that our and the host's loaders know."""
    found = {}
    for name, tensor in parameters.items():
        module, _, half = name.rpartition(".")
        found[f"{NATIVE}{module}.lora_{half}.weight"] = tensor.detach().float()
        rank = tensor.shape[0] if half == "down" else tensor.shape[1]
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
