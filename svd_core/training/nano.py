"""The embedded model: sizes, data and stages. Everything else in this package serves any SVD."""

from __future__ import annotations

from pathlib import Path

from ..checkpoint.presets import Preset
from ..models.configs import CLIPConfig, UNetConfig, VAEConfig
from ..models.vae import VAE
from .autoencoder import ImageLoss, TemporalLoss, freeze_space
from .clips import ClipSet
from .codes import LinearCode
from .diffusion import Stage
from .loop import Loss, Run

HOME = Path.home() / ".cache" / "puresvd" / "nano"
NORM_GROUPS = 8
# the decay of the averages and the steps suit runs of minutes; the model card says what was really run
GENTLE = (
    "unet.input_blocks.0.",
    "unet.out.",
)  # every copied pixel passes through these: they learn ten times slower

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
    attention_levels=(True, True, True, False),
    context_dim=64,
    adm_in_channels=768,
    head_dim=32,
    norm_groups=NORM_GROUPS,
)
CLIP = CLIPConfig(width=128, layers=4, mlp=512, patch=28, projection=64, image_size=224, heads=4)

STAGES = {
    "image": Stage(frames=1, shapes=((128, 8),), P_mean=-0.4, P_std=1.2, first_frame=False),
    "video": Stage(
        frames=14,
        shapes=((96, 5), (128, 3)),
        P_mean=0.7,
        P_std=1.6,
        first_frame=True,
        drop_latent=0.0,
        still=0.08,
        pans=0.8,
    ),
    "i2v": Stage(
        frames=14,
        shapes=((96, 5), (128, 3)),
        P_mean=0.5,
        P_std=1.6,
        first_frame=True,
        drop_latent=0.0,
        still=0.05,
        pans=1.0,
        one_way=True,
    ),
}
RUNS = {
    "vae": Run("vae", steps=1000, lr=2e-3, warmup=50, decay=0.3, muon=True, ema=0.995),
    "temporal": Run("temporal", steps=120, lr=1e-3, warmup=20, decay=0.5, muon=True, ema=0.98),
    "image": Run("image", steps=120, lr=2e-3, warmup=30, decay=0.2, muon=True, ema=0.98, gentle=GENTLE),
    "video": Run(
        "video",
        steps=600,
        lr=2e-3,
        warmup=30,
        decay=0.2,
        muon=True,
        ema=0.98,
        parts=2,
        workers=2,
        gentle=GENTLE,
    ),
    "i2v": Run(
        "i2v",
        steps=600,
        lr=1.5e-3,
        warmup=8,
        decay=0.7,
        muon=True,
        ema=0.97,
        parts=2,
        workers=2,
        gentle=GENTLE,
    ),
}


def clips(home: Path) -> ClipSet:
    return ClipSet(home / "clips", count=640, frames=14, size=256)


def vae_loss(name: str, vae: VAE, clips: ClipSet, code: LinearCode) -> Loss:
    """The autoencoder's objective in its two runs; the second trains the temporal layers alone."""
    if name == "vae":
        return ImageLoss(clips, code, sizes=(64, 64, 64, 128), pixels=32768, guided_steps=300)
    freeze_space(vae)
    return TemporalLoss(clips, code, batch=1, frames=8, size=64)


PRESET = Preset(
    "svd_nano",
    frames=14,
    width=256,
    height=256,
    fps=7,
    motion_bucket_id=127,
    augmentation_level=0.02,
    steps=25,
    min_cfg=1.0,
    max_cfg=1.0,
    curve="constant",
)
