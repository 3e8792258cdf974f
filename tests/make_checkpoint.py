"""Reduced-width random checkpoints in every layout that PureSVD reads.

python tests/make_checkpoint.py tiny.safetensors --kind svd --dtype float16
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from svd_core.checkpoint.convert import clip_to_openclip, vae_to_diffusers  # noqa: E402
from svd_core.checkpoint.names import rename, unet_layout, unet_table  # noqa: E402
from svd_core.checkpoint.read import read  # noqa: E402
from svd_core.checkpoint.write import write_safetensors  # noqa: E402
from svd_core.models.configs import CLIPConfig, UNetConfig
from svd_core.models.controlnet import ControlNet  # noqa: E402
from svd_core.models.image_encoder import CLIPVision  # noqa: E402
from svd_core.models.unet import VideoUNet  # noqa: E402
from svd_core.models.vae import VAE, VAEConfig  # noqa: E402

KINDS = (
    "svd",
    "svd_image_decoder",
    "sv3d_u",
    "sv3d_p",
    "resaved",
    "resaved_sv3d",  # as ComfyUI writes them
    "animatelcm",  # only the U-Net, diffusers names
    "unet",
    "vae",
    "clip",  # one network each
    "diffusers",
    "diffusers_fp16",
    "diffusers_sharded",  # folders
)
ADM = {"sv3d_u": 256, "sv3d_p": 1280, "resaved_sv3d": 256}
PRESET = {"name": "tiny", "frames": 4, "width": 64, "height": 64, "steps": 2}
UNET = "model.diffusion_model."
TEXT = "conditioner.embedders.0.open_clip.model."
VISUAL = TEXT + "visual."
FIRST = "first_stage_model."


def unet_config(**changes):
    sizes = dict(
        model_channels=32,
        channel_mult=(1, 2),
        num_res_blocks=1,
        attention_levels=(True, False),
        context_dim=16,
        adm_in_channels=768,
        head_dim=16,
        norm_groups=32,
    )
    return UNetConfig(**{**sizes, **changes})


def vae_config(**changes):
    sizes = dict(
        ch=32,
        ch_mult=(1, 1, 2, 2),
        num_res_blocks=1,
        z_channels=4,
        temporal=True,
        embedder=True,
        native_encoder=True,
        quant_conv=False,
        post_quant_conv=False,
        norm_groups=32,
    )
    return VAEConfig(**{**sizes, **changes})


def clip_config(**changes):
    return CLIPConfig(
        **{**dict(width=32, layers=2, mlp=64, patch=14, projection=16, image_size=56, heads=4), **changes}
    )


def random_tensors(network, generator, dtype):
    """Values for every tensor of a meta-device network: unit-gain weights, norms about 1, small biases."""
    tensors = {}
    for name, slot in network.state_dict().items():
        noise = torch.randn(slot.shape, generator=generator)
        if name.endswith("mix_factor"):
            value = noise
        elif slot.ndim >= 2:
            value = noise / slot[0].numel() ** 0.5
        elif name.endswith("weight"):
            value = 1 + 0.1 * noise
        else:
            value = 0.1 * noise
        tensors[name] = value.to(dtype)
    return tensors


class Maker:
    """Random networks of one seed, and their tensors under the names of each layout."""

    def __init__(self, *, adm=768, dtype=torch.float16, seed=0, unet=None, vae=None, clip=None):
        self.generator, self.dtype = torch.Generator().manual_seed(seed), dtype
        self.unet_config = unet or unet_config(adm_in_channels=adm)
        self.vae_config = vae or vae_config()
        self.clip_config = clip or clip_config(projection=self.unet_config.context_dim)

    def _random(self, network):
        return random_tensors(network, self.generator, self.dtype)

    def unet(self):
        return self._random(VideoUNet(self.unet_config, device="meta"))

    def vae(self, **changes):
        """In `embedder.` and `first_stage_model.` names."""
        config = VAEConfig(**{**vars(self.vae_config), **changes})
        return self._random(VAE(config, device="meta"))

    def clip(self):
        return self._random(CLIPVision(self.clip_config, device="meta"))

    def plain_decoder(self, prefix):
        """The decoder that the condition embedder carries along."""
        tensors = self.vae(temporal=False, embedder=False, native_encoder=False, post_quant_conv=True)
        return {prefix + name.removeprefix(FIRST): tensor for name, tensor in tensors.items()}

    def text_remains(self):
        shapes = dict(positional_embedding=(77, 16), text_projection=(16, 16), logit_scale=())
        shapes |= {"token_embedding.weight": (8, 16), "ln_final.weight": (16,), "ln_final.bias": (16,)}
        return {TEXT + name: torch.zeros(shape, dtype=self.dtype) for name, shape in shapes.items()}

    def hints(self, preset=PRESET):
        entry = {
            "head_dim": self.unet_config.head_dim,
            "unet_norm_groups": self.unet_config.norm_groups,
            "vae_norm_groups": self.vae_config.norm_groups,
            "clip": {"heads": self.clip_config.heads},
        }
        return json.dumps({**entry, **({"preset": preset} if preset else {})})

    def single_file(self, kind):
        """svd, svd_image_decoder, sv3d_u, sv3d_p with everything that the released files carry."""
        orbit = kind.startswith("sv3d")
        embedder = f"conditioner.embedders.{1 if orbit else 3}.encoder."
        changes = {}
        if orbit:
            changes = dict(temporal=False, native_encoder=False)
        elif kind == "svd_image_decoder":
            changes = dict(temporal=False, quant_conv=True, post_quant_conv=True)
        tensors = {UNET + name: tensor for name, tensor in self.unet().items()}
        for name, tensor in self.vae(**changes).items():
            tensors[embedder + name.removeprefix("embedder.") if name.startswith("embedder.") else name] = (
                tensor
            )
        tensors |= {VISUAL + name: tensor for name, tensor in clip_to_openclip(self.clip())[0].items()}
        return tensors | self.plain_decoder(embedder) | self.text_remains()

    def resaved(self, kind):
        """As ComfyUI's save nodes write: transformers' names, one encoder, no quant_conv, the noise range."""
        orbit = kind == "resaved_sv3d"
        prefix = "conditioner.embedders.1.encoder." if orbit else FIRST
        tensors = {UNET + name: tensor for name, tensor in self.unet().items()}
        vae = self.vae(embedder=False, temporal=not orbit)
        tensors |= {prefix + name.removeprefix(FIRST): tensor for name, tensor in vae.items()}
        tensors |= {VISUAL + name: tensor for name, tensor in self.clip().items()}
        tensors[FIRST + "puresvd"] = torch.tensor(list(self.hints().encode()), dtype=torch.uint8)
        return tensors | {
            "edm_vpred.sigma_max": torch.tensor(700.0),
            "edm_vpred.sigma_min": torch.tensor(0.002),
        }


def diffusers_unet(tensors):
    table = unet_table(unet_layout(tensors))
    return {rename(name, table): tensor for name, tensor in tensors.items()}


def write_folder(folder, maker, *, variant="", shards=1):
    """A diffusers folder, in a variant and in shards if asked."""
    vae = {n.partition(".")[2]: t for n, t in maker.vae(native_encoder=False).items()}
    heads = [
        maker.unet_config.model_channels * m // maker.unet_config.head_dim
        for m in maker.unet_config.channel_mult
    ]
    widths = [maker.unet_config.model_channels * m for m in maker.unet_config.channel_mult]
    parts = {
        "unet": (
            diffusers_unet(maker.unet()),
            {"block_out_channels": widths, "num_attention_heads": heads, "num_frames": 14},
        ),
        "vae": (vae_to_diffusers(vae)[0], {}),
        "image_encoder": (
            maker.clip(),
            {"num_attention_heads": maker.clip_config.heads, "hidden_act": "gelu"},
        ),
    }
    dot = f".{variant}" if variant else ""
    for name, (tensors, config) in parts.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps(config))
        stem = ("model" if name == "image_encoder" else "diffusion_pytorch_model") + dot
        if shards == 1:
            write_safetensors(folder / name / f"{stem}.safetensors", tensors)
            continue
        places = {
            key: f"{stem}-{1 + i % shards:05}-of-{shards:05}.safetensors" for i, key in enumerate(tensors)
        }
        for place in set(places.values()):
            write_safetensors(
                folder / name / place, {key: t for key, t in tensors.items() if places[key] == place}
            )
        (folder / name / f"{stem}.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableVideoDiffusionPipeline"}))


def write_checkpoint(
    path, *, kind="svd", dtype=torch.float16, seed=0, preset=PRESET, unet=None, vae=None, clip=None
):
    """Write a random checkpoint of a kind in KINDS; `unet`, `vae`, `clip` replace the tiny configurations."""
    if kind not in KINDS:
        raise ValueError(f"kind {kind} is unknown; choose one of {', '.join(KINDS)}")
    path = Path(path)
    maker = Maker(adm=ADM.get(kind, 768), dtype=dtype, seed=seed, unet=unet, vae=vae, clip=clip)
    if kind.startswith("diffusers"):
        variant = "fp16" if kind == "diffusers_fp16" else ""
        write_folder(path, maker, variant=variant, shards=2 if kind == "diffusers_sharded" else 1)
        return path
    if kind.startswith("resaved"):
        write_safetensors(path, maker.resaved(kind))
        return path
    if kind == "animatelcm":
        tensors = diffusers_unet(maker.unet())
    elif kind == "unet":
        tensors = {UNET + name: tensor for name, tensor in maker.unet().items()}
    elif kind == "vae":
        tensors = {name.removeprefix(FIRST): tensor for name, tensor in maker.vae(embedder=False).items()}
    elif kind == "clip":
        tensors = maker.clip()
    else:
        tensors = maker.single_file(kind)
    write_safetensors(path, tensors, {"puresvd": maker.hints(preset)})
    return path


def write_lora(path, checkpoint):
    """A LoRA of rank 1 over the temporal attention of a checkpoint's U-Net, in diffusers names."""
    state, tensors = read(checkpoint).unet, {}
    for name, tensor in diffusers_unet(state).items():
        if "temporal_transformer_blocks" in name and ".to_" in name and tensor.ndim == 2:
            stem = name.removesuffix("weight")
            tensors[f"unet.{stem}lora.up.weight"] = torch.full((tensor.shape[0], 1), 0.1)
            tensors[f"unet.{stem}lora.down.weight"] = torch.full((1, tensor.shape[1]), 0.1)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(path, tensors)


def write_controlnet(path, checkpoint):
    """A temporal ControlNet for a checkpoint's U-Net: its way down copied, its convolutions zero."""
    found = read(checkpoint)
    network = ControlNet(found.unet_config, (4, 4, 8, 8), device="meta")
    own = {name: torch.zeros(t.shape) for name, t in network.state_dict().items() if name not in found.unet}
    encoder = {name: found.unet[name] for name in network.state_dict() if name in found.unet}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(path, {**diffusers_unet(encoder), **own}, {"puresvd": found.hints_json()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path")
    parser.add_argument("--kind", choices=KINDS, default="svd")
    parser.add_argument("--dtype", default="float16")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    write_checkpoint(given.path, kind=given.kind, dtype=getattr(torch, given.dtype), seed=given.seed)
