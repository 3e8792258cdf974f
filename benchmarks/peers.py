"""The same random weights in three implementations: PureSVD, ComfyUI's native classes and diffusers.

Every builder returns name -> function of no arguments that runs one unit of work and returns its result.
Native classes need COMFYUI_PATH; without it the column is left out.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable

import torch

from svd_core.checkpoint import convert as layouts
from svd_core.conditioning.conditioning import embed
from svd_core.decode.exact import decode
from svd_core.models.configs import UNetConfig, VAEConfig
from svd_core.models.unet import VideoUNet
from svd_core.models.vae import VAE

from .by_hand import unet_keys
from .sizes import Size

Cases = dict[str, Callable[[], torch.Tensor]]
IDS, IMAGES = (6.0, 127.0, 0.02), 4
CROSS = {True: "CrossAttn", False: ""}


def native(*, fused_attention: bool = False) -> bool:
    """Import the host's model classes on the CPU if COMFYUI_PATH names a host.

    `fused_attention` has them choose torch's attention, as they do by themselves on a GPU.
    """
    path = os.environ.get("COMFYUI_PATH") or os.environ.get("PURESVD_HOST")
    if not path:
        return False
    if path not in sys.path:
        sys.path.insert(0, path)
        args = importlib.import_module("comfy.cli_args").args
        args.cpu, args.use_pytorch_cross_attention = not torch.cuda.is_available(), fused_attention
    importlib.import_module("comfy.model_management")
    return True


def seeded(module: torch.nn.Module, dtype: torch.dtype, device: str) -> torch.nn.Module:
    """Random weights, for a module on the meta device, whose activations neither die nor explode."""
    g = torch.Generator().manual_seed(0)
    tensors = {}
    for name, p in module.named_parameters():
        if p.dim() > 1:
            value = torch.empty(p.shape, device="cpu").normal_(std=p[0].numel() ** -0.5, generator=g)
        else:
            value = torch.full(p.shape, 1.0 if name.endswith("weight") else 0.0, device="cpu")
        tensors[name] = value.to(device, dtype)
    module.load_state_dict(tensors, assign=True)
    return module.eval().requires_grad_(False)


# U-Net


def unet_config(size: Size) -> UNetConfig:
    return UNetConfig(size.model_channels, (1, 2, 4, 4), 2, (True, True, True, False), 1024, 768)


def _regroup(model: torch.nn.Module, groups: int) -> torch.nn.Module:
    """diffusers knows no other number of groups than 32."""
    for module in model.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.num_groups = groups
    return model.eval().requires_grad_(False)


def diffusers_unet(ours: VideoUNet) -> torch.nn.Module:
    diffusers = importlib.import_module("diffusers")
    c = ours.config
    widths = tuple(c.model_channels * m for m in c.channel_mult)
    with torch.device("meta"):
        model = diffusers.UNetSpatioTemporalConditionModel(
            block_out_channels=widths,
            num_attention_heads=tuple(w // c.head_dim for w in widths),
            cross_attention_dim=c.context_dim,
            projection_class_embeddings_input_dim=c.adm_in_channels,
            layers_per_block=c.num_res_blocks,
            down_block_types=[f"{CROSS[a]}DownBlockSpatioTemporal" for a in c.attention_levels],
            up_block_types=[f"{CROSS[a]}UpBlockSpatioTemporal" for a in reversed(c.attention_levels)],
        )
    for m in model.modules():
        if type(m).__name__ in ("ResnetBlock2D", "TemporalResnetBlock"):
            m.norm1.eps = m.norm2.eps = 1e-5  # the released model's; its factories drop the argument
    model.load_state_dict(layouts.unet_to_diffusers(ours.state_dict())[0], assign=True)
    return _regroup(model, c.norm_groups)


def _native_unet(ours: VideoUNet, dtype: torch.dtype) -> torch.nn.Module:
    module = importlib.import_module("comfy.ldm.modules.diffusionmodules.openaimodel")
    ops = importlib.import_module("comfy.ops").disable_weight_init
    model = module.UNetModel(**unet_keys(ours.config), dtype=dtype, device="meta", operations=ops)
    model.load_state_dict(ours.state_dict(), assign=True)
    return model.eval().requires_grad_(False)


def unet_step(size: Size, dtype: torch.dtype, device: str, peers: list[str]) -> Cases:
    """One pass of F over one clip."""
    return _steps(size, dtype, device, peers, videos=1)


def guided_step(size: Size, dtype: torch.dtype, device: str, peers: list[str]) -> Cases:
    """One pass of F over the conditional and the unconditional clip in one batch."""
    return _steps(size, dtype, device, peers, videos=2)


def _steps(size: Size, dtype: torch.dtype, device: str, peers: list[str], videos: int) -> Cases:
    ours = seeded(VideoUNet(unet_config(size), device="meta"), dtype, device)
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
        model = diffusers_unet(ours)
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


def diffusers_vae(ours: VAE) -> torch.nn.Module:
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
    return _regroup(model, c.norm_groups)


def _native_vae(ours: VAE) -> torch.nn.Module:
    """The network inside the host's VAE object, which its node cuts into chunks by free memory."""
    single = {k.split(".", 1)[1]: v for k, v in ours.state_dict().items()}
    quant = single.pop("quant_conv.weight"), single.pop("quant_conv.bias")  # its class has none
    names = "encoder.conv_out.weight", "encoder.conv_out.bias"
    folded = layouts.fold_quant_conv(*(single[name] for name in names), *quant)
    single.update((name, tensor.to(quant[0].dtype)) for name, tensor in zip(names, folded))
    module, c = "comfy.ldm.modules.", ours.config
    sizes = dict(z_channels=c.z_channels, ch=c.ch, ch_mult=c.ch_mult, num_res_blocks=c.num_res_blocks)
    sizes |= dict(double_z=True, in_channels=3, out_ch=3, resolution=256, attn_resolutions=[], dropout=0.0)
    time = dict(video_kernel_size=[3, 1, 1], alpha=0.0)
    with torch.device("meta"):
        model = importlib.import_module("comfy.ldm.models.autoencoder").AutoencodingEngine(
            regularizer_config={"target": "comfy.ldm.models.autoencoder.DiagonalGaussianRegularizer"},
            encoder_config={"target": module + "diffusionmodules.model.Encoder", "params": sizes},
            decoder_config={"target": module + "temporal_ae.VideoDecoder", "params": sizes | time},
        )
    model.load_state_dict(single, assign=True)
    return model.eval().requires_grad_(False)


def vae_decode(
    size: Size, dtype: torch.dtype, device: str, peers: list[str], memory: int | None = None
) -> Cases:
    """Latents of a clip to frames: ours in bounded memory, others in one shot (all else changes pixels)."""
    ours = seeded(VAE(vae_config(size), device="meta"), dtype, device)
    z = torch.randn(size.t, 4, size.vae_h, size.vae_w, generator=torch.Generator().manual_seed(2)).to(
        device, dtype
    )
    cases: Cases = {"PureSVD": lambda: decode(ours, z, t=size.t, memory=memory)}
    if "native" in peers:
        native_model = _native_vae(ours)
        cases["native"] = lambda: native_model.decode(z)
    if "diffusers" in peers:
        model = diffusers_vae(ours)
        cases["diffusers"] = lambda: model.decode(z, num_frames=size.t).sample
    return cases


def vae_encode(size: Size, dtype: torch.dtype, device: str, peers: list[str]) -> Cases:
    """A batch of images to the means of their latents."""
    ours = seeded(VAE(vae_config(size), device="meta"), dtype, device)
    g = torch.Generator().manual_seed(3)
    x = torch.rand(IMAGES, 3, 8 * size.vae_h, 8 * size.vae_w, generator=g).mul(2).sub(1).to(device, dtype)
    cases: Cases = {"PureSVD": lambda: ours.encode(x)}
    if "native" in peers:
        native_model = _native_vae(ours)
        cases["native"] = lambda: native_model.encode(x)
    if "diffusers" in peers:
        model = diffusers_vae(ours)
        cases["diffusers"] = lambda: model.encode(x).latent_dist.mode()
    return cases


CASES = {"U-Net step": unet_step, "guided step": guided_step, "decode": vae_decode, "encode": vae_encode}
