"""The autoencoder's losses: encoder with the frame-wise decoder first, then the temporal layers alone."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.vae import SCALE, VAE
from . import photographs
from .clips import ClipSet, to_tensor
from .codes import LinearCode

STD = 1 / SCALE  # the deviation of unscaled latents
NOISE = 0.05  # posterior deviation relative to STD: latents are stored to about that precision


def initialise(vae: VAE) -> None:
    """Residual branches start at zero, so that the trunk is linear and colour passes at once."""
    for name, module in vae.named_modules():
        if isinstance(module, nn.Conv2d) and not name.endswith(("q", "k", "v")):
            nn.init.orthogonal_(module.weight)
            nn.init.zeros_(module.bias)
        if name.endswith((".conv2", ".proj_out")):
            nn.init.zeros_(module.weight)
    initialise_time(vae)
    nn.init.dirac_(vae.embedder.quant_conv.weight)


def initialise_time(vae: VAE) -> None:
    """Temporal branches start at zero and the last temporal convolution as the identity."""
    for name, module in vae.named_modules():
        if name.endswith("time_stack.out_layers.3"):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
        if name.endswith("time_mix_conv"):
            nn.init.dirac_(module.weight)
            nn.init.zeros_(module.bias)


def principal_colours(*, z: int, tile: int = 8) -> LinearCode:
    """A linear code of 8x8 tiles, from the training photographs, for frames in [-1, 1].

    Components keep the square root of their natural contrast, and together have the deviation STD.
    """
    frames = np.stack([photographs.square(name, size=256) for name in photographs.TRAINING])
    tiles = F.unfold(to_tensor(frames), tile, stride=tile).movedim(1, -1).reshape(-1, 3 * tile * tile)
    mean = tiles.mean(0)
    _, contrast, directions = torch.linalg.svd(tiles - mean, full_matrices=False)
    contrast, directions = contrast[:z] / len(tiles) ** 0.5, directions[:z]
    directions = directions * directions.sum(1, keepdim=True).sign()
    wanted = contrast.sqrt() * (STD / contrast.mean().sqrt())
    kernel = directions * (wanted / contrast)[:, None]
    return LinearCode(kernel.view(z, 3, tile, tile), -(kernel @ mean))


def pictures(rng: np.random.Generator, clips: ClipSet, *, batch: int, size: int) -> Tensor:
    """Random crops, two thirds photographs and one third frames of clips: n 3 H W in [-1, 1]."""
    crops = []
    for _ in range(batch):
        if rng.random() < 0.67:
            crops.append(torch.from_numpy(photographs.random_crop(rng, size=size)).movedim(-1, 0) * 2 - 1)
        else:
            crops.append(clips.crop(rng, frames=1, size=size)[0])
    return torch.stack(crops)


def psnr(mse: Tensor) -> Tensor:
    """Of frames in [-1, 1]."""
    return -10 * torch.log10(mse / 4 + 1e-10)


def gradient_error(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference of the horizontal and vertical differences of two pictures."""
    return sum((x.diff(dim=d) - y.diff(dim=d)).abs().mean() for d in (-1, -2))


class ImageLoss:
    """Reconstruction of single pictures; latents are held to a linear colour code, firmly at first.

    Steps go round the crop `sizes`, each with about the same number of `pixels`.
    """

    def __init__(
        self, clips: ClipSet, code: LinearCode, *, sizes: tuple[int, ...], pixels: int, guided_steps: int
    ):
        self.clips, self.code, self.sizes, self.pixels, self.guided_steps = (
            clips,
            code,
            sizes,
            pixels,
            guided_steps,
        )

    def __call__(self, vae: VAE, rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        size = self.sizes[step % len(self.sizes)]
        x = pictures(rng, self.clips, batch=max(1, self.pixels // size**2), size=size)
        mean, logvar = (m.float() for m in vae.embedder.moments(x))
        noise = torch.from_numpy(rng.standard_normal(mean.shape, np.float32)) * (NOISE * STD)
        y = vae.decode(mean + noise, t=1).float()
        mse = (y - x).square().mean((1, 2, 3))
        guidance = max(0.2, 1 - step / self.guided_steps)
        latents = ((mean - self.code(x)) / STD).square().mean() + (mean.std() / STD - 1).square()
        posterior = (logvar - 2 * np.log(NOISE * STD)).square().mean()
        loss = (mse + 1e-4).sqrt().mean() + 0.1 * gradient_error(x, y) + guidance * latents + 1e-3 * posterior
        return loss, {"psnr": float(psnr(mse.detach()).mean()), "std": float(mean.detach().std())}


def freeze_space(vae: VAE) -> None:
    """Leave gradients to the temporal layers alone."""
    for name, p in vae.named_parameters():
        p.requires_grad_("time_stack" in name or "mix_factor" in name or "time_mix_conv" in name)


class TemporalLoss:
    """Reconstruction of clips by the temporal layers, half from the encoder's latents and half from the linear code."""

    def __init__(self, clips: ClipSet, code: LinearCode, *, batch: int, frames: int, size: int):
        self.clips, self.code, self.batch, self.frames, self.size = clips, code, batch, frames, size

    def __call__(self, vae: VAE, rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        x = torch.cat([self.clips.crop(rng, frames=self.frames, size=self.size) for _ in range(self.batch)])
        with torch.no_grad():
            z = self.code(x) if rng.random() < 0.5 else vae.encode(x).float()
        noise = torch.from_numpy(rng.standard_normal(z.shape, np.float32)) * (NOISE * STD)
        y = vae.decode(z + noise, t=self.frames).float()
        x, y = (v.unflatten(0, (self.batch, self.frames)) for v in (x, y))
        mse = (y - x).square().mean((1, 2, 3, 4))
        flicker = (y.diff(dim=1) - x.diff(dim=1)).abs().mean()
        loss = (mse + 1e-4).sqrt().mean() + 0.1 * gradient_error(x, y) + flicker
        return loss, {"psnr": float(psnr(mse.detach()).mean()), "flicker": float(flicker.detach())}
