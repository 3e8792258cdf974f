"""LoRA files as peft and diffusers write them, with the weights that the same libraries merge them into."""

import json
from dataclasses import dataclass
from pathlib import Path

import peft
import torch
from diffusers import StableDiffusionPipeline, UNetSpatioTemporalConditionModel
from diffusers.utils import convert_state_dict_to_diffusers, convert_state_dict_to_kohya
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

from svd_core.checkpoint.convert import unet_from_diffusers, unet_to_diffusers

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
LAYERS = [
    *ATTENTION,
    "net.0.proj",
    "net.2",
    "conv1",
    "conv2",
    "conv_shortcut",
    "time_emb_proj",
    "proj_in",
    "linear_1",
]
FLAT = [name for name in LAYERS if not name.startswith("conv")]  # without convolutions over time
SPATIAL = r".*(spatial_res_block\.conv[12]|to_[qkv]|to_out\.0)$"  # peft has no LoHa or LoKr over time
RANKS = {"r": 4, "lora_alpha": 6, "init_lora_weights": False}
HADAMARD = {"r": 3, "alpha": 5, "init_weights": False}
CONFIGS = {
    "attention": peft.LoraConfig(target_modules=ATTENTION, **RANKS),
    "lora": peft.LoraConfig(target_modules=LAYERS, **RANKS),
    "rslora": peft.LoraConfig(target_modules=LAYERS, use_rslora=True, **RANKS),
    "patterns": peft.LoraConfig(
        target_modules=LAYERS, rank_pattern={"attn1.to_q": 2}, alpha_pattern={"attn2.to_v": 1}, **RANKS
    ),
    "bias": peft.LoraConfig(target_modules=["net.0.proj", "proj_in", "to_out.0"], lora_bias=True, **RANKS),
    "dora": peft.LoraConfig(target_modules=LAYERS, use_dora=True, **RANKS),
    "loha": peft.LoHaConfig(target_modules=FLAT, **HADAMARD),
    "loha_tucker": peft.LoHaConfig(target_modules=SPATIAL, use_effective_conv2d=True, **HADAMARD),
    "lokr_tucker": peft.LoKrConfig(target_modules=SPATIAL, use_effective_conv2d=True, **{**HADAMARD, "r": 1}),
    "lokr": peft.LoKrConfig(target_modules=FLAT, **HADAMARD),
    "lokr_factored": peft.LoKrConfig(target_modules=FLAT, decompose_both=True, **{**HADAMARD, "r": 1}),
}
WRITERS = ("peft", "raw", "diffusers", "kohya", "processor")


@dataclass(frozen=True)
class Written:
    path: Path
    merged: dict[str, torch.Tensor]  # the U-Net's own names
    adapted: int  # layers


def network(state, config):
    """The diffusers U-Net of a reduced-width configuration with the tensors of ours."""
    widths = [config.model_channels * m for m in config.channel_mult]
    down = [("CrossAttn" if on else "") + "DownBlockSpatioTemporal" for on in config.attention_levels]
    up = [("CrossAttn" if on else "") + "UpBlockSpatioTemporal" for on in reversed(config.attention_levels)]
    model = UNetSpatioTemporalConditionModel(
        block_out_channels=widths,
        down_block_types=down,
        up_block_types=up,
        layers_per_block=config.num_res_blocks,
        num_attention_heads=[width // config.head_dim for width in widths],
        cross_attention_dim=config.context_dim,
        addition_time_embed_dim=config.adm_in_channels // 3,
        projection_class_embeddings_input_dim=config.adm_in_channels,
    )
    model.load_state_dict(unet_to_diffusers(state)[0])
    return model


def randomized(model, seed):
    """Factors of a few per cent of their layer, magnitudes near what they were."""
    g = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        if "lora_magnitude" in name:
            p.data *= 1 + 0.2 * torch.rand(p.shape, generator=g)
        elif any(mark in name for mark in ("lora_", "hada_", "lokr_")):
            p.data = 0.3 * torch.randn(p.shape, generator=g)


@torch.inference_mode(False)
def write(folder, state, config, *, kind="lora", writer="peft", seed=0):
    """Train nothing, write the file as the library does, and merge with the library's own arithmetic."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().clone() for name, tensor in state.items()}
    model = peft.get_peft_model(network(state, config), CONFIGS[kind])
    randomized(model, seed)
    adapted = sum(hasattr(m, "merge") and hasattr(m, "base_layer") for m in model.modules())
    path = _save(folder, model, writer)
    merged = model.merge_and_unload().state_dict()
    found, unknown = unet_from_diffusers({name: tensor.detach() for name, tensor in merged.items()})
    assert not unknown
    return Written(path, found, adapted)


def _save(folder, model, writer):
    tensors = get_peft_model_state_dict(model)
    bare = {name.removeprefix("base_model.model."): tensor for name, tensor in tensors.items()}
    if writer == "peft":
        model.save_pretrained(folder)
        return folder / "adapter_model.safetensors"
    path = folder / f"{writer}.safetensors"
    if writer == "raw":  # the state dict itself, with the settings as diffusers keeps them
        found = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if "lora_" in name}
        save_file(found, path, {"lora_adapter_metadata": _settings(model)})
    elif writer == "diffusers":
        StableDiffusionPipeline.save_lora_weights(
            folder,
            unet_lora_layers=convert_state_dict_to_diffusers(bare),
            unet_lora_adapter_metadata=model.peft_config["default"].to_dict(),
        )
        return folder / "pytorch_lora_weights.safetensors"
    elif writer == "kohya":
        found = convert_state_dict_to_kohya({f"unet.{name}": tensor for name, tensor in bare.items()})
        alpha = torch.tensor(float(model.peft_config["default"].lora_alpha))
        alphas = {name: alpha.clone() for name in found if name.endswith(".alpha")}
        save_file({name: tensor.contiguous() for name, tensor in found.items()} | alphas, path)
    else:  # diffusers before it used peft, attention only
        found = {}
        for name, tensor in bare.items():
            name = name.replace("to_out.0", "to_out").replace(".to_", ".processor.to_")
            name = name.replace(".lora_A.", "_lora.down.").replace(".lora_B.", "_lora.up.")
            found[f"unet.{name}"] = tensor.contiguous() * (model.peft_config["default"].lora_alpha / 4) ** 0.5
        save_file(found, path)
    return path


def _settings(model):
    config = model.peft_config["default"]
    return json.dumps({"unet.r": config.r, "unet.lora_alpha": config.lora_alpha})
