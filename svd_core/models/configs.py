"""The sizes of the three networks; the numbers are those of the released checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

FAMILIES = {768: "svd", 256: "sv3d_u", 1280: "sv3d_p"}  # by the width of the U-Net's conditioning vector


@dataclass(frozen=True)
class UNetConfig:
    model_channels: int  # 320
    channel_mult: tuple[int, ...]  # (1, 2, 4, 4)
    num_res_blocks: int  # 2 a level on the way down, one more on the way up
    attention_levels: tuple[bool, ...]  # (True, True, True, False)
    context_dim: int  # 1024
    adm_in_channels: int  # 768 SVD, 256 SV3D_u, 1280 SV3D_p
    in_channels: int = 8  # noisy latent and condition latent
    out_channels: int = 4
    head_dim: int = 64
    norm_groups: int = 32


@dataclass(frozen=True)
class VAEConfig:
    ch: int  # 128
    ch_mult: tuple[int, ...]  # (1, 2, 4, 4)
    num_res_blocks: int  # 2
    z_channels: int  # 4
    temporal: bool  # temporal decoder, or frame-wise image decoder
    embedder: bool  # the reference encoder is present
    native_encoder: bool  # first_stage_model.encoder is present
    quant_conv: bool  # first_stage_model.quant_conv is present
    post_quant_conv: bool  # first_stage_model.post_quant_conv is present
    norm_groups: int = 32
    embedder_quant_conv: bool = True  # a re-saved or converted encoder may have it folded in


@dataclass(frozen=True)
class CLIPConfig:
    width: int  # 1280
    layers: int  # 32
    mlp: int  # 5120
    patch: int  # 14
    projection: int  # 1024
    image_size: int = 224
    heads: int = 16  # not visible in shapes
