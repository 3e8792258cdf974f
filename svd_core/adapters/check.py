"""What is refused in an adapter, and how it is brought into the forms that the host applies exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch

from ..checkpoint.header import show
from .change import Layer, Size, change, whole_lokr
from .names import Layers

LISTED = 3
_KINDS = (  # roles that only make sense together
    (("up", "down"), "lora_up and lora_down"),
    (("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), "the four matrices of LoHa"),
    (("hada_t1", "hada_t2"), "both cores of LoHa"),
    (("lokr_w1_a", "lokr_w1_b"), "both halves of lokr_w1"),
    (("lokr_w2_a", "lokr_w2_b"), "both halves of lokr_w2"),
)


def refuse_values(layers: Iterable[Layer], where: str) -> None:
    """Stop on NaN, infinity, and numbers that are not floating point."""
    bad, odd = [], []
    for layer in layers:
        tensors = layer.tensors.values()
        if not all(tensor.is_floating_point() for tensor in tensors):
            odd.append(layer.module)
        elif not all(bool(tensor.float().isfinite().all()) for tensor in tensors):
            bad.append(layer.module)
    if odd:
        raise ValueError(f"{where} is quantised in {_named(odd)}; use an fp32, fp16 or bf16 version")
    if bad:
        raise ValueError(f"{where} holds NaN or infinite values in {_named(bad)}; use another version of it")


def refuse_halves(layers: Iterable[Layer], where: str) -> None:
    """Stop where one of several tensors that belong together is missing."""
    half: dict[str, str] = {}
    for layer in layers:
        roles = layer.tensors.keys()
        for together, told in _KINDS:
            if set(together) & roles and not set(together) <= roles:
                half[layer.module] = told
        if any(role.startswith("lokr") for role in roles):
            for name in ("lokr_w1", "lokr_w2"):
                if not {name, f"{name}_a"} & roles:
                    half[layer.module] = "both factors of LoKr"
        if (
            not roles & {"up", "hada_w1_a", "lokr_w1", "lokr_w1_a", "diff", "diff_b"}
            and layer.module not in half
        ):
            half[layer.module] = "the matrices that go with an alpha or a magnitude"
    if half:
        told = next(iter(half.values()))
        raise ValueError(
            f"{where} is not whole: {told} are not all there for {_named(list(half))}; use another version "
            "of it"
        )


def refuse_shapes(layers: Iterable[Layer], known: Layers, where: str, *, foreign: str) -> None:
    """Stop where an adapter does not give a change in the size of its layer's weight."""
    all_layers = list(layers)
    wrong = {}
    for layer in all_layers:
        if fault := misfit(layer, known):
            wrong[layer.module] = fault
    if wrong:
        module, fault = next(iter(wrong.items()))
        why = f"; {foreign}" if foreign else ""
        raise ValueError(
            f"{where} does not fit this U-Net in {len(wrong)} of {len(all_layers)} layers (first "
            f"{show(module)}: {fault}){why}; choose a LoRA trained on a model of this width"
        )


def misfit(layer: Layer, known: Layers) -> str:
    """Why an adapter does not fit its layer, or nothing."""
    size = known.shapes[known.weight(layer.module)]
    bias = known.shapes.get(f"{layer.module}.bias")
    sizes = {role: tuple(tensor.shape) for role, tensor in layer.tensors.items()}
    for role in ("diff_b", "up_bias"):
        if role in sizes and sizes[role] != bias:
            return f"a bias of {_size(sizes[role])} for {_size(bias) if bias else 'a layer without bias'}"
    if "diff" in sizes and sizes["diff"] != size:
        return f"a difference of {_size(sizes['diff'])} for a weight of {_size(size)}"
    if set(sizes) <= {"diff", "diff_b"}:
        return ""
    if len(size) < 2:
        return f"factors for a weight of {_size(size)}"
    rule = _RULES[next(kind for kind in _RULES if any(role.startswith(kind) for role in sizes))]
    if not rule(sizes, size):
        shown = ", ".join(
            f"{role} {_size(s)}" for role, s in sizes.items() if role not in ("dora", "magnitude", "up_bias")
        )
        return f"{shown} for a weight of {_size(size)}"
    if not _magnitude_fits(sizes, size):
        return (
            f"a magnitude of {_size(sizes.get('dora', sizes.get('magnitude', ())))} for a weight of "
            f"{_size(size)}"
        )
    return ""


def _lora_fits(s: dict[str, Size], size: Size) -> bool:
    up, down, kernel = s["up"], s["down"], math.prod(size[2:])
    if len(up) < 2 or len(down) < 2 or up[0] != size[0] or math.prod(up[1:]) != down[0]:
        return False
    if "mid" in s:
        mid = s["mid"]
        return mid[:2] == (down[0],) * 2 and math.prod(mid[2:]) == kernel and math.prod(down[1:]) == size[1]
    same = len(down) != len(size) or down[1:] == size[1:]
    return same and math.prod(down[1:]) == size[1] * kernel


def _loha_fits(s: dict[str, Size], size: Size) -> bool:
    kernel = math.prod(size[2:])
    for number in "12":
        a, b = s[f"hada_w{number}_a"], s[f"hada_w{number}_b"]
        if core := s.get(f"hada_t{number}"):
            fits = core[:2] == (a[0], b[0]) and math.prod(core[2:]) == kernel
            fits = fits and (a[1:], b[1:]) == ((size[0],), (size[1],))
        else:
            fits = (a[0], a[1:], b[1:]) == (size[0], b[:1], (size[1] * kernel,))
        if not fits:
            return False
    return True


def _lokr_fits(s: dict[str, Size], size: Size) -> bool:
    one = s.get("lokr_w1") or _joined(s["lokr_w1_a"], s["lokr_w1_b"])
    if core := s.get("lokr_t2"):
        a, b = s["lokr_w2_a"], s["lokr_w2_b"]
        two = (a[1], b[1], *core[2:]) if core[:2] == (a[0], b[0]) else ()
    else:
        two = s.get("lokr_w2") or _joined(s["lokr_w2_a"], s["lokr_w2_b"])
    if len(one) != 2 or len(two) < 2:
        return False
    return one[0] * two[0] == size[0] and one[1] * math.prod(two[1:]) == math.prod(size[1:])


_RULES: dict[str, Callable[[dict[str, Size], Size], bool]] = {
    "up": _lora_fits,
    "hada": _loha_fits,
    "lokr": _lokr_fits,
}


def _joined(a: Size, b: Size) -> Size:
    return (a[0], *b[1:]) if len(a) == 2 and len(b) >= 2 and a[1] == b[0] else ()


def _magnitude_fits(s: dict[str, Size], size: Size) -> bool:
    if "magnitude" in s:
        return math.prod(s["magnitude"]) == size[0]
    dora = s.get("dora", (size[0],))
    return math.prod(dora) == (size[0] if dora and dora[0] == size[0] else size[1])


def plain(layer: Layer, known: Layers) -> Layer:
    """The same change in a form that the host applies exactly; not so 5-D Tucker and Kronecker ones."""
    size = known.shapes[known.weight(layer.module)]
    tensors = dict(layer.tensors)
    if "up_bias" in tensors:
        tensors["diff_b"] = tensors.pop("up_bias") * layer.scale
    if "magnitude" in tensors:
        tensors["dora"] = tensors.pop("magnitude").reshape(-1, *[1] * (len(size) - 1))
    elif "dora" in tensors:
        ones = [1] * (len(size) - 1)
        outer = tensors["dora"].shape[0] == size[0]
        tensors["dora"] = tensors["dora"].reshape(*([-1, *ones] if outer else [1, -1, *ones[1:]]))
    layer = replace(layer, tensors=tensors)
    if len(size) < 5:
        return layer
    if "hada_t1" in tensors:
        found = change(layer, size)
        assert found is not None
        kept = {role: t for role, t in tensors.items() if role in ("dora", "diff_b")}
        return Layer(layer.module, {"diff": found.to(torch.float32), **kept})
    if "lokr_t2" in tensors or tensors.get("lokr_w2", torch.empty(0)).ndim > 2:
        whole = {role: t.float() for role, t in tensors.items()}
        w1 = whole_lokr(whole, "lokr_w1") * layer.scale
        kept = {role: t for role, t in tensors.items() if not role.startswith("lokr")}
        return Layer(
            layer.module, {"lokr_w1": w1, "lokr_w2": whole_lokr(whole, "lokr_w2").flatten(1), **kept}
        )
    return layer


def _named(modules: list[str]) -> str:
    more = f" and {len(modules) - LISTED} more" if len(modules) > LISTED else ""
    count = f"{len(modules)} layers" if len(modules) > 1 else "1 layer"
    return f"{count} ({', '.join(map(show, modules[:LISTED]))}{more})"


def _size(size: Size) -> str:
    return "x".join(map(str, size)) or "a single number"
