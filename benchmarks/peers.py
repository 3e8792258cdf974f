"""The same random weights in three implementations: PureSVD, ComfyUI's native classes and diffusers.

Every builder returns name -> function of no arguments that runs one unit of work and returns its result.
Native classes need COMFYUI_PATH; without it the column is left out.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from svd_core.checkpoint import convert as layouts
from svd_core.conditioning.conditioning import embed
from svd_core.decode.exact import decode
from svd_core.models.configs import UNetConfig, VAEConfig
from svd_core.models.unet import VideoUNet
from svd_core.models.vae import VAE

Cases = dict[str, Callable[[], torch.Tensor]]
IDS = (6.0, 127.0, 0.02)
IMAGES = 4


@dataclass(frozen=True)
class Size:
    """What is run: a U-Net width, latent frames and height and width, and the same for the decoder."""

    model_channels: int
    t: int
    h: int
    w: int
    vae_ch: int
    vae_h: int
    vae_w: int


SIZES = {
    "tiny": Size(64, 4, 8, 16, 32, 8, 16),
    "small": Size(192, 14, 24, 40, 128, 16, 28),
    "clip": Size(192, 14, 32, 56, 128, 32, 56),
    "large": Size(64, 4, 8, 16, 32, 64, 112),  # frames of the bytes of clip for a quarter of the work
    "full": Size(320, 14, 72, 128, 128, 72, 128),
    "full-xt": Size(320, 25, 72, 128, 128, 72, 128),
}


def sized(name: str) -> Size:
    """A named size, or one with another number of frames: "small" or "small/28"."""
    name, _, frames = name.partition("/")
    return replace(SIZES[name], t=int(frames)) if frames else SIZES[name]


def native() -> bool:
    """Import the host's model classes on the CPU if COMFYUI_PATH names a host."""
    path = os.environ.get("COMFYUI_PATH") or os.environ.get("PURESVD_HOST")
    if not path:
        return False
    if path not in sys.path:
        sys.path.insert(0, path)
        importlib.import_module("comfy.cli_args").args.cpu = not torch.cuda.is_available()
    importlib.import_module("comfy.model_management")
    return True


def seeded(module: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """Random weights whose activations neither die nor explode."""
    g = torch.Generator().manual_seed(0)
    for name, p in module.named_parameters():
        if p.dim() > 1:
            torch.nn.init.normal_(p, std=p[0].numel() ** -0.5, generator=g)
        else:
            torch.nn.init.constant_(p, 1.0 if name.endswith("weight") else 0.0)
    return module.to(dtype).eval().requires_grad_(False)


# U-Net


def unet_config(size: Size) -> UNetConfig:
    return UNetConfig(size.model_channels, (1, 2, 4, 4), 2, (True, True, True, False), 1024, 768)


def _diffusers_unet(ours: VideoUNet) -> torch.nn.Module:
    diffusers = importlib.import_module("diffusers")
    c = ours.config
    widths = tuple(c.model_channels * m for m in c.channel_mult)
    with torch.device("meta"):
        model = diffusers.UNetSpatioTemporalConditionModel(
            block_out_channels=widths,
            num_attention_heads=tuple(w // c.head_dim for w in widths),
            cross_attention_dim=c.context_dim,
            projection_class_embeddings_input_dim=c.adm_in_channels,
        )
    for m in model.modules():
        if type(m).__name__ in ("ResnetBlock2D", "TemporalResnetBlock"):
            m.norm1.eps = m.norm2.eps = 1e-5  # the released model's; its factories drop the argument
    model.load_state_dict(layouts.unet_to_diffusers(ours.state_dict())[0], assign=True)
    return model.eval().requires_grad_(False)


def _native_unet(ours: VideoUNet, dtype: torch.dtype) -> torch.nn.Module:
    module = importlib.import_module("comfy.ldm.modules.diffusionmodules.openaimodel")
    ops = importlib.import_module("comfy.ops").disable_weight_init
    c = ours.config
    levels = [int(a) for a in c.attention_levels]
    model = module.UNetModel(
        image_size=32,
        in_channels=8,
        out_channels=4,
        model_channels=c.model_channels,
        num_res_blocks=[2] * 4,
        channel_mult=list(c.channel_mult),
        num_head_channels=c.head_dim,
        context_dim=c.context_dim,
        transformer_depth=[a for a in levels for _ in range(2)],
        transformer_depth_middle=1,
        transformer_depth_output=[a for a in levels for _ in range(3)],
        num_classes="sequential",
        adm_in_channels=c.adm_in_channels,
        use_spatial_transformer=True,
        use_linear_in_transformer=True,
        legacy=False,
        extra_ff_mix_layer=True,
        use_spatial_context=True,
        merge_strategy="learned_with_images",
        merge_factor=0.0,
        video_kernel_size=[3, 1, 1],
        use_temporal_resblock=True,
        use_temporal_attention=True,
        disable_temporal_crossattention=False,
        dtype=dtype,
        device="meta",
        operations=ops,
    )
    model.load_state_dict(ours.state_dict(), assign=True)
    return model.eval().requires_grad_(False)


def unet_step(size: Size, dtype: torch.dtype, device: str, peers: list[str]) -> Cases:
    """One pass of F over one clip."""
    return _steps(size, dtype, device, peers, videos=1)


def guided_step(size: Size, dtype: torch.dtype, device: str, peers: list[str]) -> Cases:
    """One pass of F over the conditional and the unconditional clip in one batch."""
    return _steps(size, dtype, device, peers, videos=2)


def _steps(size: Size, dtype: torch.dtype, device: str, peers: list[str], videos: int) -> Cases:
    ours = seeded(VideoUNet(unet_config(size), device=device), dtype)
    g = torch.Generator().manual_seed(1)
    x = torch.randn(videos * size.t, 8, size.h, size.w, generator=g).to(device, dtype)
    context = torch.randn(videos, 1, 1024, generator=g).to(device, dtype)
    rows = context.repeat_interleave(size.t, 0)
    ids = torch.tensor([IDS] * videos, device=device)
    y = embed(ids).repeat_interleave(size.t, 0).to(dtype)
    c_noise = torch.full((videos * size.t,), 0.7, device=device)
    cases: Cases = {"PureSVD": lambda: ours(x, c_noise, rows, y, t=size.t)}
    if "native" in peers:
        theirs = _native_unet(ours, dtype)
        cases["native"] = lambda: theirs(x, c_noise, rows, y, num_video_frames=size.t, transformer_options={})
    if "diffusers" in peers:
        model = _diffusers_unet(ours)
        clips = x.unflatten(0, (videos, size.t))
        cases["diffusers"] = lambda: model(clips, c_noise[0], context, ids.to(dtype)).sample.flatten(0, 1)
    return cases


# Autoencoder


def vae_config(size: Size) -> VAEConfig:
    return VAEConfig(
        ch=size.vae_ch,
        ch_mult=(1, 2, 4, 4),
        num_res_blocks=2,
        z_channels=4,
        temporal=True,
        embedder=True,
        native_encoder=False,
        quant_conv=False,
        post_quant_conv=False,
    )


def _diffusers_vae(ours: VAE) -> torch.nn.Module:
    diffusers = importlib.import_module("diffusers")
    c = ours.config
    with torch.device("meta"):
        model = diffusers.AutoencoderKLTemporalDecoder(
            block_out_channels=tuple(c.ch * m for m in c.ch_mult),
            latent_channels=c.z_channels,
            down_block_types=("DownEncoderBlock2D",) * len(c.ch_mult),
            layers_per_block=c.num_res_blocks,
        )
    single = {k.split(".", 1)[1]: v for k, v in ours.state_dict().items()}
    model.load_state_dict(layouts.vae_to_diffusers(single)[0], assign=True)
    return model.eval().requires_grad_(False)


def _native_vae(ours: VAE) -> torch.nn.Module:
    """The network inside the host's VAE object, which its node cuts into chunks by free memory."""
    single = {k.split(".", 1)[1]: v for k, v in ours.state_dict().items()}
    quant = single.pop("quant_conv.weight"), single.pop("quant_conv.bias")  # its class has none
    names = "encoder.conv_out.weight", "encoder.conv_out.bias"
    single.update(zip(names, layouts.fold_quant_conv(*(single[name] for name in names), *quant)))
    return importlib.import_module("comfy.sd").VAE(sd=single, dtype=torch.float32).first_stage_model.eval()


def vae_decode(size: Size, dtype: torch.dtype, device: str, peers: list[str]) -> Cases:
    """Latents of a clip to frames: ours in bounded memory, others in one shot (all else changes pixels)."""
    ours = seeded(VAE(vae_config(size), device=device), dtype)
    z = torch.randn(size.t, 4, size.vae_h, size.vae_w, generator=torch.Generator().manual_seed(2)).to(
        device, dtype
    )
    cases: Cases = {"PureSVD": lambda: decode(ours, z, t=size.t)}
    if "native" in peers and dtype == torch.float32 and size.vae_ch == 128:  # the only width the host builds
        native_model = _native_vae(ours)
        cases["native"] = lambda: native_model.decode(z)
    if "diffusers" in peers:
        model = _diffusers_vae(ours)
        cases["diffusers"] = lambda: model.decode(z, num_frames=size.t).sample
    return cases


def vae_encode(size: Size, dtype: torch.dtype, device: str, peers: list[str]) -> Cases:
    """A batch of images to the means of their latents."""
    ours = seeded(VAE(vae_config(size), device=device), dtype)
    g = torch.Generator().manual_seed(3)
    x = torch.rand(IMAGES, 3, 8 * size.vae_h, 8 * size.vae_w, generator=g).mul(2).sub(1).to(device, dtype)
    cases: Cases = {"PureSVD": lambda: ours.encode(x)}
    if "native" in peers and dtype == torch.float32 and size.vae_ch == 128:
        native_model = _native_vae(ours)
        cases["native"] = lambda: native_model.encode(x)
    if "diffusers" in peers:
        model = _diffusers_vae(ours)
        cases["diffusers"] = lambda: model.encode(x).latent_dist.mode()
    return cases


CASES = {"U-Net step": unet_step, "guided step": guided_step, "decode": vae_decode, "encode": vae_encode}
