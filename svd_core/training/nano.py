"""The embedded model: sizes and stages. Everything else in this package serves any SVD."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ..checkpoint.presets import Preset
from ..models.configs import CLIPConfig, UNetConfig, VAEConfig
from ..models.unet import VideoUNet
from . import lora
from .camera import MOVEMENTS
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
PANS, ZOOMS = ((16, 4), (24, 2), (32, 1)), ((32, 2),)  # what a zoom does to a frame depends on its size
# the decay of the averages and the steps suit runs of minutes; the model card says what was really run
RUNS = {
    "vae": Run("vae", steps=900, lr=1e-3, warmup=20, decay=0.4, muon=True, bf16=False),
    "temporal": Run("temporal", steps=120, lr=1e-3, warmup=20, decay=0.5, muon=True, ema=0.98, bf16=False),
    "decoder": Run("decoder", steps=2000, lr=1e-3, warmup=20, decay=0.6, muon=True, ema=0.99, bf16=False),
    "camera": Run(
        "camera", steps=400, lr=1.5e-3, warmup=20, decay=0.02, muon=True, ema=0.99, bf16=False, gentle=GENTLE
    ),
    "finish": Run(
        "finish", steps=300, lr=1e-3, warmup=5, decay=1.0, muon=True, ema=0.98, bf16=False, gentle=GENTLE
    ),
}

LORAS = Path(__file__).resolve().parent.parent / "nano" / "loras"
CAMERAS = ("static", "left", "up", "down", "in", "out")  # of `camera.MOVEMENTS`, one LoRA each
CAMERA_RUN = Run("", steps=120, lr=6e-3, warmup=5, decay=0.5, ema=0.96, bf16=False)
# A zoom is another movement at every place, which a LoRA did not learn in hundreds of films: the whole
# network does, and the LoRA is what comes nearest to its change. Zooming out begins where zooming in ended.
ZOOM_RUN = Run(
    "", steps=700, lr=1.2e-3, warmup=10, decay=0.5, muon=True, ema=0.985, bf16=False, gentle=GENTLE
)
ZOOM_RANK = 32
# The model pans to the right. With its kernels mirrored or turned it goes another way, but for what its
# latents are not equivariant to: an adapter starts from there, and learns at a third of the rate.
TURNS: dict[str, Callable[[Tensor], Tensor]] = {
    "left": lambda kernel: kernel.flip(-1),
    "up": lambda kernel: kernel.rot90(1, (-2, -1)),
    "down": lambda kernel: kernel.rot90(-1, (-2, -1)),
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


def camera_run(movement: str) -> Run:
    """How long and how fast a movement is trained."""
    if MOVEMENTS[movement].zoom:
        return replace(ZOOM_RUN, name=f"zoom-{movement}")
    run = replace(CAMERA_RUN, name=f"lora-{movement}")
    return replace(run, lr=run.lr / 3) if movement in ("right", *TURNS) else run


def camera_stage(movement: str) -> Stage:
    """What it is trained on."""
    if MOVEMENTS[movement].zoom:
        return Stage(shapes=ZOOMS, P_mean=1.4, P_std=1.4, movements=(movement,))
    return Stage(shapes=PANS, P_mean=1.2, P_std=1.6, movements=(movement,))


def attach_camera(unet: VideoUNet, movement: str) -> list[str]:
    """Adapt the layers that a movement needs, from the nearest that is known; returns their names."""
    if movement in TURNS:
        kernels = {n: m.weight for n, m in unet.named_modules() if getattr(m, "kernel_size", 0) == (3, 3)}
        names = lora.attach(unet, parts=("convolutions",), rank=16)
        lora.begin(unet, {name: TURNS[movement](kernel) - kernel for name, kernel in kernels.items()})
        return names
    return lora.attach(unet, parts=lora.TRAINABLE, rank=ZOOM_RANK if MOVEMENTS[movement].zoom else 4)


def camera_lora(movement: str) -> Path:
    """Where the LoRA of a movement lies."""
    return LORAS / f"svd_nano_{movement}.safetensors"
