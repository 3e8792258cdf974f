"""The embedded model: sizes and stages. Everything else in this package serves any SVD."""

from __future__ import annotations

from pathlib import Path

from ..checkpoint.presets import Preset
from ..models.configs import CLIPConfig, UNetConfig, VAEConfig
from .diffusion import Stage
from .loop import Run

HOME = Path.home() / ".cache" / "puresvd" / "nano"
NORM_GROUPS = 8
GENTLE = ("input_blocks.0.", "out.")  # every copied pixel passes through these: they learn ten times slower

IMAGE_VAE = VAEConfig(
    ch=32,
    ch_mult=(1, 2, 4, 4),
    num_res_blocks=1,
    z_channels=4,
    temporal=False,
    embedder=True,
    native_encoder=False,
    quant_conv=False,
    post_quant_conv=False,
    norm_groups=NORM_GROUPS,
)
UNET = UNetConfig(
    model_channels=32,
    channel_mult=(1, 2, 3, 3),
    num_res_blocks=2,
    attention_levels=(False, True, True, False),
    context_dim=64,
    adm_in_channels=768,
    head_dim=32,
    norm_groups=NORM_GROUPS,
)
CLIP = CLIPConfig(width=128, layers=4, mlp=512, patch=28, projection=64, image_size=224, heads=4)

STAGES = {
    "camera": Stage(shapes=((16, 8), (24, 4)), P_mean=1.2, P_std=1.6),
    "finish": Stage(shapes=((32, 2), (24, 3), (32, 2), (16, 6)), P_mean=1.0, P_std=1.6),
}
# the decay of the averages and the steps suit runs of minutes; the model card says what was really run
RUNS = {
    "vae": Run("vae", steps=900, lr=1e-3, warmup=20, decay=0.4, muon=True, bf16=False),
    "temporal": Run("temporal", steps=120, lr=1e-3, warmup=20, decay=0.5, muon=True, ema=0.98, bf16=False),
    "camera": Run(
        "camera", steps=400, lr=1.5e-3, warmup=20, decay=0.02, muon=True, ema=0.99, bf16=False, gentle=GENTLE
    ),
    "finish": Run(
        "finish", steps=300, lr=1e-3, warmup=5, decay=1.0, muon=True, ema=0.98, bf16=False, gentle=GENTLE
    ),
}

PRESET = Preset(
    "svd_nano",
    frames=14,
    width=256,
    height=256,
    fps=7,
    motion_bucket_id=127,
    augmentation_level=0.02,
    steps=6,
    min_cfg=1.0,
    max_cfg=1.0,
    curve="constant",
    schedule="ays",
)
