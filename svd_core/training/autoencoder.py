"""The autoencoder's losses: an equivariant encoder with the frame-wise decoder first,
then the temporal layers alone.

Equivariant: moving the picture moves the latents, E(T x) = T E(x), so that a camera can be moved in latent
space.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.vae import SCALE, VAE
from . import photographs
from .camera import MOVEMENTS, film, place, views
from .library import to_tensor

STD = 1 / SCALE  # the deviation of unscaled latents
POSTERIOR = 0.05  # deviation of the posterior relative to STD: latents are stored to about that precision
CHROMA = torch.tensor(
    [[0.805, -0.283, -0.522], [-0.138, 0.766, -0.628]]
)  # orange to blue, green to purple, both without grey
DEVIATIONS = (1.5, 0.9, 0.8, 0.7)  # of the scaled latents: luminance, two colours and an edge


class Guide:
    """What the channels mean at first: brightness, orange, light from above, green of a tile of 8 x 8.

    Called with n 3 H W in [-1, 1] -> n 4 h w with `DEVIATIONS` over the given pictures, n H W 3 uint8.
    """

    def __init__(self, pictures: np.ndarray):
        axes = torch.cat([torch.full((1, 3), 3**-0.5), CHROMA])
        kernel = axes[:, :, None, None].expand(3, 3, 8, 8) / 64
        ramp = torch.linspace(1, -1, 8).view(1, 1, 8, 1).expand(1, 3, 8, 8) / 64
        self.kernel, self.mean = (
            torch.stack([kernel[0], kernel[1], ramp[0], kernel[2]]),
            torch.zeros(1, 4, 1, 1),
        )
        self.gain = torch.ones(1, 4, 1, 1)
        z = self(to_tensor(pictures))
        self.mean = z.mean((0, 2, 3), keepdim=True)
        self.gain = STD * torch.tensor(DEVIATIONS).view(1, 4, 1, 1) / z.std((0, 2, 3), keepdim=True)

    def __call__(self, x: Tensor) -> Tensor:
        return (F.conv2d(x, self.kernel, stride=8) - self.mean) * self.gain


def decibels(mse: Tensor) -> Tensor:
    """PSNR of frames in [-1, 1] whose mean square error is known."""
    return -10 * torch.log10(mse / 4 + 1e-10)


def gradient_error(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference of the horizontal and vertical differences of two pictures."""
    across, down = ((x.diff(dim=d) - y.diff(dim=d)).abs().mean() for d in (-1, -2))
    return across + down


def colour_error(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference of the two colour axes of 8 x 8 means."""
    return torch.einsum("nchw,kc->nkhw", F.avg_pool2d(x - y, 8), CHROMA).abs().mean()


def draw_movement(rng: np.random.Generator, n: int, *, size: int) -> Tensor:
    """Random shifts of up to 10 pixels, two fifths with a zoom and a turn: n 2 3,
    as `affine_grid` takes them.
    """
    shift = rng.uniform(-10, 10, (n, 2)) * 2 / size
    free = rng.random(n) < 0.4
    zoom, turn = np.exp(rng.normal(0, 0.12, n) * free), rng.normal(0, np.radians(6), n) * free
    cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
    rows = np.stack([np.stack([cos, -sin, shift[:, 0]], -1), np.stack([sin, cos, shift[:, 1]], -1)], 1)
    return torch.from_numpy(rows).float()


def move(x: Tensor, theta: Tensor, *, size: int | None = None) -> Tensor:
    """n c H W seen through `theta`, bicubic; with `size`, the central window of a larger picture."""
    size = size or x.shape[-1]
    grid = F.affine_grid(theta, [len(x), 1, size, size], align_corners=False) * (size / x.shape[-1])
    return F.grid_sample(x, grid, mode="bicubic", padding_mode="reflection", align_corners=False)


def known(theta: Tensor, size: int) -> Tensor:
    """Positions of a moved picture that were inside, over half a position from its border: n 1 size size."""
    grid = F.affine_grid(theta, [len(theta), 1, size, size], align_corners=False)
    return (grid.abs() < 1 - 1 / size).all(-1)[:, None].float()


class ImageLoss:
    """Reconstruction of pictures, on half of the steps of moved ones from moved latents.

    The channels follow `guide` over the first `guided_steps`; steps go round the crop `sizes`,
    each with about the same number of `pixels`.
    """

    def __init__(self, pictures: np.ndarray, *, sizes: tuple[int, ...], pixels: int, guided_steps: int):
        self.pictures, self.sizes, self.pixels, self.guided_steps = pictures, sizes, pixels, guided_steps
        self.guide = Guide(pictures[:: max(1, len(pictures) // 100)])
        self.wanted = STD * torch.tensor(DEVIATIONS)

    def crops(self, rng: np.random.Generator, n: int, size: int) -> Tensor:
        """A seventh of them photographs: n 3 H W in [-1, 1]."""
        found = []
        for _ in range(n):
            if rng.random() < 0.15:
                found.append(torch.from_numpy(photographs.random_crop(rng, size=size)).movedim(-1, 0) * 2 - 1)
                continue
            picture = self.pictures[rng.integers(len(self.pictures))]
            y, x = rng.integers(0, len(picture) - size + 1, 2)
            found.append(to_tensor(picture[y : y + size, x : x + size][:, :: rng.choice((-1, 1))]))
        return torch.stack(found)

    def __call__(self, vae: VAE, rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        size = self.sizes[step % len(self.sizes)]
        n, moved = max(1, self.pixels // size**2), rng.random() < 0.5
        wide = self.crops(rng, n, size * 3 // 2)
        x = y0 = wide[..., size // 4 : -(size // 4), size // 4 : -(size // 4)]
        encoder = vae.encoder_for(native=False)
        mean, logvar = (m.float() for m in encoder.moments(x))
        z, mask, equivariance = mean, torch.ones(1, 1, 1, 1), torch.zeros(())
        if moved:
            theta = draw_movement(rng, n, size=size)
            z, y0 = move(mean, theta), move(wide, theta, size=size).clamp(-1, 1)
            inside = known(theta, size // 8)
            there = encoder.moments(y0)[0].float()
            equivariance = (inside * ((z - there) / STD).square()).sum() / (4 * inside.sum())
            mask = F.interpolate(inside, scale_factor=8)
        level = torch.from_numpy(rng.uniform(0, 0.2, (n, 1, 1, 1))).float() * STD
        noise = level * torch.from_numpy(rng.standard_normal(z.shape, np.float32))
        y = vae.decode(z + noise, t=1).float()
        y = y * mask + y0 * (1 - mask)
        mse = (y - y0).square().mean((1, 2, 3)) / mask.mean((1, 2, 3))
        guidance = max(0.0, 1 - step / self.guided_steps)
        latents = ((mean - self.guide(x)) / STD).square().mean() * guidance
        spread = (mean.std((0, 2, 3)) / self.wanted - 1).square().mean()
        posterior = (logvar - 2 * np.log(POSTERIOR * STD)).square().mean()
        loss = (mse + 1e-4).sqrt().mean() + 0.1 * gradient_error(y0, y) + 0.5 * colour_error(y0, y)
        loss = loss + latents + 0.3 * equivariance + 0.05 * spread + 1e-3 * posterior
        return loss, {
            "psnr": float(decibels(mse.detach()).mean()),
            "equivariance": float(equivariance.detach()),
        }


def freeze_space(vae: VAE) -> None:
    """Leave gradients to the temporal layers alone."""
    for name, p in vae.named_parameters():
        p.requires_grad_("time_stack" in name or "mix_factor" in name or "time_mix_conv" in name)


class TemporalLoss:
    """Reconstruction of films of a moving camera by the temporal layers,
    from latents with noise of their own a frame.
    """

    def __init__(self, pictures: np.ndarray, *, frames: int, size: int, batch: int):
        self.pictures, self.frames, self.size, self.batch = pictures, frames, size, batch

    def films(self, rng: np.random.Generator) -> Tensor:
        """Pans of any direction at up to 3 pixels a frame, and zooms: (b t) 3 size size in [-1, 1]."""
        found, names = [], [name for name in MOVEMENTS if "clockwise" not in name]
        for _ in range(self.batch):
            picture = to_tensor(self.pictures[rng.integers(len(self.pictures))])
            movement, speed = MOVEMENTS[str(rng.choice(names))], 3 * rng.random()
            seen = views(movement, speed=speed, frames=self.frames, size=self.size, cell=1)
            corner = place(rng, seen, size=self.size, within=tuple(picture.shape[-2:]), cell=1)
            found.append(film(picture, seen, corner, size=self.size, cell=1).clamp(-1, 1))
        return torch.cat(found)

    def __call__(self, vae: VAE, rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        x = self.films(rng)
        with torch.no_grad():
            z = vae.encode(x).float()
        level = STD * 0.3 * rng.random()
        y = vae.decode(z + level * torch.from_numpy(rng.standard_normal(z.shape, np.float32)), t=self.frames)
        x, y = (v.float().unflatten(0, (self.batch, self.frames)) for v in (x, y))
        mse = (y - x).square().mean((1, 2, 3, 4))
        flicker = (y.diff(dim=1) - x.diff(dim=1)).abs().mean()
        loss = (mse + 1e-4).sqrt().mean() + 0.1 * gradient_error(x, y) + flicker
        return loss, {"psnr": float(decibels(mse.detach()).mean()), "flicker": float(flicker.detach())}


def freeze_encoder(vae: VAE) -> None:
    """Leave gradients to the decoder alone: latents, and all that was trained on them, stay as they are."""
    for name, p in vae.named_parameters():
        p.requires_grad_(name.startswith("first_stage_model.decoder."))


class DecoderLoss:
    """Pictures and films in turn, two to one, for a decoder whose encoder is frozen."""

    def __init__(self, images: ImageLoss, films: TemporalLoss):
        self.images, self.films = images, films

    def __call__(self, vae: VAE, rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        loss, facts = (self.films if step % 3 == 2 else self.images)(vae, rng, step)
        return loss, {"psnr": facts["psnr"]}
