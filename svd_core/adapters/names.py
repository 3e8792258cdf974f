"""What LoRA files call a layer and its tensors: any spelling -> the U-Net's module name and one role."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ..checkpoint.names import rename, unet_layout, unet_table

Shapes = Mapping[str, tuple[int, ...]]  # tensor name of the U-Net (after `model.diffusion_model.`) -> shape

NATIVE = "diffusion_model."
_PREFIXES = ("base_model.model.", "module.", "unet.", "model.diffusion_model.", NATIVE)
_FLAT_PREFIXES = ("lora_unet_", "lycoris_unet_", "lycoris_", "base_model_model_")
# The tail of a tensor's name, and its role; `lora_A` and `lora_B` may carry the name of the adapter.
_ROLES = tuple(
    (re.compile(rf"(.+?)(?:{tail})"), role)
    for tail, role in (
        (r"\.lora_up(?:\.weight)?|\.lora_B(?:\.(?!bias$)\w+)?(?:\.weight)?", "up"),
        (r"[._]lora\.up\.weight|\.lora_linear_layer\.up\.weight", "up"),
        (r"\.lora_down(?:\.weight)?|\.lora_A(?:\.(?!bias$)\w+)?(?:\.weight)?", "down"),
        (r"[._]lora\.down\.weight|\.lora_linear_layer\.down\.weight", "down"),
        (r"\.lora_B(?:\.\w+)?\.bias", "up_bias"),
        (r"\.lora_mid(?:\.weight)?", "mid"),
        (r"\.alpha", "alpha"),
        (r"\.dora_scale", "dora"),
        (r"\.lora_magnitude_vector(?:\.\w+){0,2}", "magnitude"),
        (r"\.diff|\.w_norm", "diff"),
        (r"\.diff_b|\.b_norm", "diff_b"),
        *(
            (rf"\.{name}(?:\.(?!weight$)\w+)?(?:\.weight)?", name)
            for name in (
                *("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"),
                *("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"),
            )
        ),
    )
)
SUFFIXES = {
    "up": "lora_up.weight",
    "down": "lora_down.weight",
    "mid": "lora_mid.weight",
    "dora": "dora_scale",
}
PARTS = (
    "temporal attention",
    "spatial attention",
    "feed-forward",
    "projections",
    "convolutions",
    "embeddings",
    "mixers",
)


def split(name: str) -> tuple[str, str] | None:
    """(layer as the file calls it, role) of a tensor, or None where its tail is unknown."""
    for pattern, role in _ROLES:
        if found := pattern.fullmatch(name):
            layer = found[1]
            if ".processor." in layer:  # diffusers before PEFT
                layer = re.sub(r"\.to_out$", ".to_out.0", layer.replace(".processor.", "."))
            return bare(layer), role
    return None


def bare(layer: str) -> str:
    """The layer without the wrappers that trainers put before it."""
    while prefix := next((p for p in (*_PREFIXES, *_FLAT_PREFIXES) if layer.startswith(p)), ""):
        layer = layer[len(prefix) :]
    return layer


class Layers:
    """The layers of one U-Net, found by any name that a file gives them."""

    def __init__(self, shapes: Shapes):
        """shapes: every tensor of the U-Net; raises ValueError where they are not those of a video U-Net."""
        if not any(".time_stack." in name for name in shapes):
            raise ValueError(
                "this model is not a Stable Video Diffusion U-Net (it has no layers over time); load one with"
                " Load Video Checkpoint"
            )
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self.modules = list(dict.fromkeys(map(_module, shapes)))
        self._modules: dict[str, str] = {}
        table = unet_table(unet_layout(shapes))
        for module in self.modules:
            diffusers = rename(module, table) or module
            image = diffusers.replace(".spatial_res_block.", ".")  # as Stable Diffusion 2 calls it
            for name in (module, diffusers, image):
                self._modules.setdefault(name, module)
                self._modules.setdefault(name.replace(".", "_"), module)

    def find(self, layer: str) -> str | None:
        """The U-Net's own name of a layer, or None."""
        return self._modules.get(layer)

    def weight(self, module: str) -> str:
        """The name of a layer's weight."""
        return module if module in self.shapes else f"{module}.weight"

    def in_part(self, part: str) -> list[str]:
        """The layers of a part that have matrices or kernels; of the mixers, their factors."""
        sizes = ((m, self.shapes[self.weight(m)]) for m in self.modules)
        return [m for m, size in sizes if part_of(m) == part and (len(size) > 1 or part == "mixers")]


def part_of(module: str) -> str:
    """The part, one of PARTS, that a layer belongs to; norms go with what they stand before."""
    if module.endswith("mix_factor"):
        return "mixers"
    if re.search(r"time_embed\.|label_emb\.|emb_layers\.|time_pos_embed\.", module):
        return "embeddings"
    if re.search(r"\.ff(_in)?\.|\.norm(3|_in)$", module):
        return "feed-forward"
    if re.search(r"time_stack\.\d+\.(attn|norm)", module):
        return "temporal attention"
    if "transformer_blocks." in module:
        return "spatial attention"
    if re.search(r"\.(norm|proj_in|proj_out)$", module):
        return "projections"
    return "convolutions"


def inert(modules: Iterable[str]) -> list[str]:
    """Layers without effect while the image is one token: the softmax over one key is 1, whatever it says."""
    return [module for module in modules if re.search(r"\.attn2\.to_[qk]$", module)]


def _module(name: str) -> str:
    head, _, tail = name.rpartition(".")
    return head if tail in ("weight", "bias") else name
