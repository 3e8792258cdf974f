"""What a LoRA changes, in words: which parts, how much of each, and how strongly."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .change import Layer, change_norm
from .lora import Lora
from .names import PARTS, Layers, inert

STRONG = 1.0  # a change as large as the weight itself


def describe(lora: Lora, layers: Layers, weight: Callable[[str], Tensor] | None = None) -> str:
    """One line a part, and what there is to know; `weight(name)` gives the U-Net's tensors, on any device.

    >>> 128/128 temporal attention, LoRA, rank 16, alpha 16, largest relative change 3 %
    """
    lines, largest = [], 0.0
    for part in PARTS:
        chosen = list(lora.part(part).layers.values())
        if not chosen:
            continue
        known = layers.in_part(part)
        matrices = [layer for layer in chosen if layer.module in known]
        words = [f"{len(matrices)}/{len(known)} {part}" if matrices else part]
        if others := len(chosen) - len(matrices):
            words.append(f"{others} norms")
        words += _numbers(chosen)
        if weight is not None:
            relative = max(_relative(layer, layers, weight) for layer in chosen)
            largest = max(largest, relative)
            words.append(f"largest relative change {_percent(relative)} %")
        lines.append(", ".join(words))
    lines += lora.notes
    if idle := inert(lora.layers):
        lines.append(f"{len(idle)} of these layers have no effect while the image is described by one token")
    if largest > STRONG:
        lines.append(
            "the largest change is greater than the weight itself: if the video breaks, lower the strength"
        )
    return "\n".join(lines)


def _percent(share: float) -> str:
    """Two digits or more, and no exponent for a large one."""
    return f"{100 * share:.2g}" if share < 0.1 else f"{100 * share:.0f}"


def _numbers(layers: list[Layer]) -> list[str]:
    kinds = ", ".join(dict.fromkeys(layer.kind for layer in layers))
    ranks = sorted({layer.rank for layer in layers if layer.rank})
    words = [kinds]
    if ranks:
        words.append(f"rank {ranks[0]}" + (f" to {ranks[-1]}" if len(ranks) > 1 else ""))
    alphas = sorted({layer.alpha for layer in layers if layer.alpha is not None and layer.rank})
    if alphas:
        words.append(f"alpha {alphas[0]:g}" + (f" to {alphas[-1]:g}" if len(alphas) > 1 else ""))
    elif ranks:
        words.append("alpha as the rank")
    return words


def _relative(layer: Layer, layers: Layers, weight: Callable[[str], Tensor]) -> float:
    """||change|| / ||weight|| at strength 1; of a bias alone, that of the bias."""
    name = layers.weight(layer.module)
    if set(layer.tensors) == {"diff_b"}:
        name = f"{layer.module}.bias"
        made = float(layer.tensors["diff_b"].float().norm())
    else:
        made = change_norm(layer, layers.shapes[name])
    return made / max(float(weight(name).float().norm()), 1e-12)
