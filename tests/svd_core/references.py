"""Reduced-width networks with random weights, and the same weights in diffusers and transformers."""

import torch
from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
from diffusers.models.resnet import ResnetBlock2D, TemporalResnetBlock
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from svd_core.checkpoint import convert as layouts
from svd_core.models.configs import CLIPConfig, UNetConfig, VAEConfig
from svd_core.models.image_encoder import CLIPVision
from svd_core.models.unet import VideoUNet
from svd_core.models.vae import VAE

UNET = UNetConfig(32, (1, 2, 4, 4), 2, (True, True, True, False), 48, 768, head_dim=8)
SMALL = UNetConfig(32, (1, 2), 1, (True, False), 48, 768, head_dim=8)  # for what any U-Net shows
TEMPORAL = VAEConfig(
    ch=32,
    ch_mult=(1, 2, 4, 4),
    num_res_blocks=2,
    z_channels=4,
    temporal=True,
    embedder=True,
    native_encoder=False,
    quant_conv=False,
    post_quant_conv=False,
)
CLIP = CLIPConfig(width=64, layers=3, mlp=128, patch=14, projection=48, image_size=224, heads=4)


def relative_error(a, b):
    """‖a − b‖ / ‖b‖ in float64."""
    a, b = a.double(), b.double()
    return ((a - b).norm() / b.norm()).item()


def randomized(module, seed=0):
    """Give every parameter a role, the same for the same seed: no bias,
    norm or mix factor stays at its start.
    """
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in module.named_parameters():
            noise = torch.randn(p.shape, generator=g)
            if p.dim() > 1:
                p.copy_(noise * p[0].numel() ** -0.5)
            else:
                p.copy_(0.1 * noise + (1 if name.endswith("weight") else 0))
    return module.eval().requires_grad_(False)


def unet(config=UNET, seed=0):
    return randomized(VideoUNet(config), seed)


def vae(config=TEMPORAL, seed=1):
    return randomized(VAE(config), seed)


def clip(seed=2):
    return randomized(CLIPVision(CLIP), seed)


def diffusers_unet(ours):
    c = ours.config
    widths = tuple(c.model_channels * m for m in c.channel_mult)
    kinds = ["CrossAttn" if on else "" for on in c.attention_levels]
    model = UNetSpatioTemporalConditionModel(
        block_out_channels=widths,
        down_block_types=tuple(f"{kind}DownBlockSpatioTemporal" for kind in kinds),
        up_block_types=tuple(f"{kind}UpBlockSpatioTemporal" for kind in reversed(kinds)),
        num_attention_heads=tuple(w // c.head_dim for w in widths),
        cross_attention_dim=c.context_dim,
        addition_time_embed_dim=c.adm_in_channels // 3,
        projection_class_embeddings_input_dim=c.adm_in_channels,
    )
    for m in model.modules():
        if isinstance(
            m, ResnetBlock2D | TemporalResnetBlock
        ):  # its factories drop the eps argument: 1e-6, not 1e-5
            m.norm1.eps = m.norm2.eps = 1e-5
    model.load_state_dict(layouts.unet_to_diffusers(ours.state_dict())[0])
    return model.eval().requires_grad_(False)


def diffusers_vae(ours):
    c = ours.config
    model = AutoencoderKLTemporalDecoder(
        block_out_channels=tuple(c.ch * m for m in c.ch_mult),
        down_block_types=("DownEncoderBlock2D",) * len(c.ch_mult),
        layers_per_block=c.num_res_blocks,
        latent_channels=c.z_channels,
    )
    single = {
        k.removeprefix("embedder.").removeprefix("first_stage_model."): v
        for k, v in ours.state_dict().items()
    }
    model.load_state_dict(layouts.vae_to_diffusers(single)[0])
    return model.eval().requires_grad_(False)


def transformers_clip(ours):
    c = ours.config
    model = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=c.width,
            intermediate_size=c.mlp,
            num_hidden_layers=c.layers,
            num_attention_heads=c.heads,
            image_size=c.image_size,
            patch_size=c.patch,
            projection_dim=c.projection,
            hidden_act="gelu",
        )
    )
    model.load_state_dict(ours.state_dict())
    return model.eval().requires_grad_(False)
