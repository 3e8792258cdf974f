"""LoRAs on a MODEL: renamed adapters handed to the host's own loader, patches and hooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import comfy.hooks
import comfy.lora
from comfy.patcher_extension import CallbacksMP
from torch import Tensor

from ...svd_core.adapters.lora import Lora, read
from ...svd_core.adapters.names import NATIVE, Layers
from ...svd_core.adapters.report import describe
from . import wired

Strengths = Mapping[str, float]  # part -> strength; 0 leaves the part as it is


def load(path: str, model) -> tuple[Lora, Layers, str]:
    """A LoRA file fitted to a MODEL, the MODEL's layers, and the report."""
    wired.check(model)
    state = model.model.state_dict()
    shapes = {name[len(NATIVE) :]: tuple(t.shape) for name, t in state.items() if name.startswith(NATIVE)}
    layers = Layers(shapes)
    lora = read(path, layers)
    weight = unpatched(model)
    return lora.exact(weight, layers), layers, describe(lora, layers, weight)


def unpatched(model) -> Callable[[str], Tensor]:
    """name -> the U-Net's tensor as it was loaded, whatever is patched into it at the moment."""
    found = model.get_key_patches(NATIVE)

    def weight(name: str) -> Tensor:
        tensor, convert = found[NATIVE + name][0]
        return convert(tensor, inplace=False).cpu()

    return weight


def patched(model, lora: Lora, layers: Layers, strengths: Strengths):
    """A clone of the MODEL with the adapters of each part at its strength."""
    clone = model.clone()
    for part, strength in strengths.items():
        if strength:
            patches = _patches(model, lora.part(part), layers)
            _require(set(clone.add_patches(patches, strength)), set(patches), lora.where)
    if any(map(_is_mixer, clone.patches)):
        clone.add_callback(CallbacksMP.ON_LOAD, _patch_mixers)
    return clone


def _is_mixer(key: str) -> bool:
    return key.endswith(".mix_factor")


def _patch_mixers(patcher, device_to, *_) -> None:
    """Mix factors, which a model loaded in part leaves unpatched: they are in no layer of the host's kind."""
    for key in filter(_is_mixer, list(patcher.patches)):
        if key not in patcher.backup:
            patcher.patch_weight_to_device(key, device_to=device_to)


def hooks(model, lora: Lora, layers: Layers, strengths: Strengths, previous=None):
    """HOOKS that apply the same adapters to a conditioning, or to a part of the sampling steps, only."""
    group = comfy.hooks.HookGroup() if previous is None else previous.clone()
    for part, strength in strengths.items():
        patches = _patches(model, lora.part(part), layers) if strength else {}
        if patches:
            hook = comfy.hooks.WeightHook(strength_model=strength, strength_clip=0.0)
            hook.weights, hook.need_weight_init = patches, False
            group.add(hook)
    return group


def _patches(model, lora: Lora, layers: Layers) -> dict:
    """The host's patch of every tensor that these adapters change; all of them, or a sentence."""
    names = {NATIVE + module: NATIVE + layers.weight(module) for module in lora.layers}
    found = comfy.lora.load_lora(lora.native(), names, log_missing=False)
    wanted = set()
    for module, layer in lora.layers.items():
        if set(layer.tensors) != {"diff_b"}:
            wanted.add(names[NATIVE + module])
        if "diff_b" in layer.tensors:
            wanted.add(f"{NATIVE}{module}.bias")
    _require(found.keys(), wanted, lora.where)
    return found


def _require(found, wanted, where: str) -> None:
    if missing := sorted(set(wanted) - set(found)):
        raise ValueError(
            f"{where}: this ComfyUI took {len(wanted) - len(missing)} of {len(wanted)} adapters (not "
            f"{missing[0]}); use a newer version of ComfyUI"
        )
