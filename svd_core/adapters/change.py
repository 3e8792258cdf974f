"""What an adapter adds to the weight of its layer: LoRA, LoCon, LoHa, LoKr, DoRA, and plain differences.

LoRA: Hu et al. 2106.09685; LoCon, LoHa, LoKr: Yeh et al. 2309.14859; DoRA: Liu et al. 2402.09353.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

Size = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """The adapter of one layer: tensors by role; alpha over rank scales what they add, None counts as 1."""

    module: str
    tensors: dict[str, Tensor] = field(default_factory=dict)
    alpha: float | None = None

    @property
    def rank(self) -> int | None:
        """Rows of the narrow factor that alpha is divided by; None where nothing is factored."""
        for role in ("down", "hada_w1_b", "lokr_w2_b", "lokr_w1_b"):
            if role in self.tensors:
                return self.tensors[role].shape[0]
        return None

    @property
    def scale(self) -> float:
        """What the product of the factors is multiplied by at strength 1."""
        return 1.0 if self.alpha is None or not self.rank else self.alpha / self.rank

    @property
    def kind(self) -> str:
        """LoRA, LoHa, LoKr, or a difference; DoRA where a magnitude comes with it."""
        if "dora" in self.tensors:
            return "DoRA"
        names = {"up": "LoRA", "hada_w1_a": "LoHa", "lokr_w1": "LoKr", "lokr_w1_a": "LoKr"}
        return next((kind for role, kind in names.items() if role in self.tensors), "difference")


def change(layer: Layer, size: Size) -> Tensor | None:
    """scale * product of the factors in the weight's size, float32: strength 1, no DoRA magnitude."""
    t = {role: tensor.float() for role, tensor in layer.tensors.items()}
    if "diff" in t:
        return t["diff"].reshape(size)
    if "up" in t:
        found = t["up"].flatten(1) @ _wide_down(t).flatten(1)
    elif "hada_w1_a" in t:
        found = _factor(t, "hada_w1", "hada_t1") * _factor(t, "hada_w2", "hada_t2")
    elif layer.kind in ("LoKr", "DoRA"):
        found = kronecker(whole_lokr(t, "lokr_w1"), whole_lokr(t, "lokr_w2"))
    else:
        return None
    return layer.scale * found.reshape(size)


def change_norm(layer: Layer, size: Size) -> float:
    """Frobenius norm of `change`; of two plain factors by their Gram matrices, ||BA||^2 = tr(B'B AA')."""
    if {"up", "down"} <= layer.tensors.keys() and "mid" not in layer.tensors and "diff" not in layer.tensors:
        up, down = (layer.tensors[role].flatten(1).double() for role in ("up", "down"))
        square = ((up.T @ up) * (down @ down.T)).sum()
        return abs(layer.scale) * math.sqrt(max(float(square), 0.0))
    found = change(layer, size)
    return 0.0 if found is None else float(found.norm())


def decomposed(layer: Layer, weight: Tensor) -> Tensor:
    """DoRA: m * (W + D) / ||W + D|| - W in float32, the norm over all axes but that of the magnitude m."""
    W = weight.float()
    D, m = change(layer, tuple(W.shape)), layer.tensors["dora"].float()
    V = W if D is None else W + D
    axis = 0 if m.shape[0] == W.shape[0] else 1
    norm = V.transpose(0, axis).flatten(1).norm(dim=1) + torch.finfo(torch.float32).eps
    shape = [1] * W.ndim
    shape[axis] = -1
    return m * (V / norm.reshape(shape)) - W


def whole_lokr(t: dict[str, Tensor], name: str) -> Tensor:
    """One Kronecker factor, multiplied out where it is stored in two."""
    return t[name] if name in t else _factor(t, name, "lokr_t2" if name == "lokr_w2" else "")


def kronecker(w1: Tensor, w2: Tensor) -> Tensor:
    """a b and c d ... -> (a c) (b d) ...: rows and columns are multiplied, a kernel belongs to w2."""
    product = torch.einsum("ab,cdk->acbdk", w1, w2.reshape(*w2.shape[:2], -1))
    return product.reshape(w1.shape[0] * w2.shape[0], -1)


def _factor(t: dict[str, Tensor], name: str, core: str) -> Tensor:
    """a @ b, or with a Tucker core r r k: out in k from the core, a of r out and b of r in."""
    a, b = t[f"{name}_a"], t[f"{name}_b"]
    if core not in t:
        return a @ b
    return torch.einsum("ijk,jn,im->mnk", t[core].flatten(2), b, a)


def _wide_down(t: dict[str, Tensor]) -> Tensor:
    """r in k: the narrow factor, through the middle kernel r r k where there is one."""
    if "mid" not in t:
        return t["down"]
    return torch.einsum("ask,si->aik", t["mid"].flatten(2), t["down"].flatten(1))
