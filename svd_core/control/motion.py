"""More motion without training: a lower start with the right mean, a condition vague at high noise.

At high noise the model copies the photo, and few noisy clips were trained on there. Starting lower gives
more motion, too low loses the picture. Analytic-Init (Zhao et al., 2406.15735) starts from the Gaussian
closest to noised data,
N(E[z], level² + tr Cov z / d), instead of from N(0, level²). Latents z are the encoder's times 0.18215.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checkpoint.header import open_tensors
from ..models.vae import SCALE
from ..sampling.noise_levels import SIGMA_MAX
from ..signatures import Denoise

LOWEST = 50.0  # where the ladder of strengths ends
HIGHEST_BUCKET = 255.0  # the reference's scripts warn above
MEAN, VARIANCE = "Expectation_x_0", "trCov_d"  # names in a statistics file, as published with Analytic-Init


@dataclass(frozen=True)
class Start:
    """The Gaussian that a run starts from, besides its noise level."""

    mean: Tensor  # t 4 h w, scaled latents
    variance: float = 0.0  # of the data around the mean, per element


def start_level(strength: float) -> float:
    """The noise level to start from: 700 at strength 0, `LOWEST` at 1, even in the logarithm between."""
    return SIGMA_MAX ** (1 - strength) * LOWEST**strength


def raised_bucket(motion_bucket_id: float, strength: float) -> float:
    """The motion bucket, moved towards `HIGHEST_BUCKET` by the strength; never lowered."""
    return motion_bucket_id + strength * max(0.0, HIGHEST_BUCKET - motion_bucket_id)


def colour(concat: Tensor, t: int) -> Start:
    """The photo's own average colour on every frame, without its layout, so that motion is not held back.

    concat is the encoded photo, not scaled: b 4 h w.
    """
    z = concat.float() * SCALE
    mean = z.mean(dim=(0, 2, 3), keepdim=True).expand(t, -1, *z.shape[2:])
    return Start(mean, float(z.var(dim=(0, 2, 3), unbiased=False).mean()))


def photo(concat: Tensor, t: int) -> Start:
    """The photo on every frame; it holds the layout, and so holds motion back: b 4 h w, one row or t."""
    z = concat.float() * SCALE
    return Start(z.expand(t, -1, -1, -1) if len(z) == 1 else z[:t])


def gather(clips: Iterable[Tensor]) -> tuple[Start, int]:
    """The statistics of training clips, each t 4 h w scaled latents, and their number: mean per element,
    variance over all. Two clips' worth of memory for any number.
    """
    total = squares = torch.zeros(())
    count = 0
    for clip in clips:
        count, z = count + 1, clip.double()
        total, squares = total.to(z) + z, squares.to(z) + z.square()
    mean = total / max(1, count)
    return Start(mean.float(), float((squares / max(1, count) - mean.square()).mean())), count


def read_statistics(path: str | os.PathLike[str], shape: tuple[int, ...]) -> Start:
    """Statistics in a safetensors file for clips t 4 h w: `Expectation_x_0` of that shape, `trCov_d`."""
    tensors, _ = open_tensors(path)
    where = os.path.basename(path)
    if missing := [name for name in (MEAN, VARIANCE) if name not in tensors]:
        raise ValueError(
            f"{where} lacks {' and '.join(missing)}; a statistics file has {MEAN}, frames x 4 x height/8 x "
            f"width/8, and {VARIANCE}, one number"
        )
    mean, variance = tensors[MEAN].float(), tensors[VARIANCE].float()
    mean = mean[0] if mean.ndim == 5 and len(mean) == 1 else mean
    if tuple(mean.shape) != tuple(shape):
        raise ValueError(
            f"{where} is for latents of {tuple(mean.shape)}, the clip is {tuple(shape)}; statistics cannot be"
            " resized, use a file made for this size and length"
        )
    if variance.numel() != 1 or not bool(mean.isfinite().all()) or not 0 <= float(variance) < float("inf"):
        raise ValueError(f"{where} holds no finite mean and one variance of at least 0; make it again")
    return Start(mean, float(variance))


def first(noise: Tensor, level: float, start: Start) -> Tensor:
    """Unit noise -> first latent of a run from a lower level, N(mean, level² + variance): t 4 h w both."""
    return start.mean.to(noise) + (level**2 + start.variance) ** 0.5 * noise


def low_pass(z: Tensor, factor: float, strength: float = 1.0) -> Tensor:
    """Shrink a latent and enlarge it again, bilinear and antialiased: n c h w -> n c h w (ALG, 2506.08456).

    factor is the size in between at strength 1; strength 0 leaves z as it is.
    """
    ratio = 1 - (1 - factor) * strength
    h, w = z.shape[-2:]
    small = max(1, round(h * ratio)), max(1, round(w * ratio))
    if small == (h, w):
        return z
    down = F.interpolate(z.float(), size=small, mode="bilinear", antialias=True)
    return F.interpolate(down, size=(h, w), mode="bilinear", antialias=True).to(z)


def switched(early: Denoise, late: Denoise, until: float) -> Denoise:
    """`early` above a noise level, `late` from there down."""
    return lambda x, sigma: early(x, sigma) if float(sigma) > until else late(x, sigma)
