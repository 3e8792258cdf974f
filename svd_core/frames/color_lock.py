"""The colour statistics of a clip pinned to those of a reference; motion is left as it is."""

from __future__ import annotations

import torch
from torch import Tensor

from ..signatures import OnStep
from .layout import check, colours


@torch.no_grad()
def lock_color(
    frames: Tensor,
    *,
    reference: Tensor | None = None,
    anchor_frames: int = 1,
    strength: float = 1.0,
    on_step: OnStep | None = None,
) -> Tensor:
    """Give each frame the colour mean and covariance of `reference`: t c H W in [0, 1] -> t c H W.

    `reference` is n c H' W' of any size; None takes the first `anchor_frames` frames. If several pictures
    divide more frames evenly, the frames are as many clips, one after the other, and each clip gets its own
    picture; else the pictures are taken together. The map is the linear optimal transport between the two
    colour distributions (Pitie and Kokaram 2007), mixed in by `strength`.
    """
    check(frames)
    if not 0 <= strength <= 1:
        raise ValueError(f"strength is {strength}; use a value from 0 (nothing) to 1 (exactly the reference)")
    if anchor_frames < 1:
        raise ValueError(f"anchor_frames is {anchor_frames}; use 1 or more")
    if reference is None:
        pictures = [frames[:anchor_frames]]
    else:
        check(reference)
        one_each = len(reference) < len(frames) and len(frames) % len(reference) == 0
        pictures = list(reference.split(1)) if one_each else [reference]
    k = colours(frames)
    if colours(pictures[0]) != k:
        raise ValueError(
            f"the reference has {pictures[0].shape[1]} channels, the clip {frames.shape[1]}; match them"
        )
    goals = [statistics(picture, k) for picture in pictures]
    out = torch.empty_like(frames)
    for i, frame in enumerate(frames):
        mean_to, covariance_to = goals[i * len(goals) // len(frames)]
        mean, covariance = statistics(frame[None], k)
        m = transport(covariance, covariance_to).to(frame.device, torch.float32)
        x = frame[:k].float()
        centred = x - mean.to(x).view(-1, 1, 1)
        mapped = torch.einsum("ij,jhw->ihw", m, centred) + mean_to.to(x).view(-1, 1, 1)
        out[i, :k] = torch.lerp(x, mapped.clamp(0, 1), strength)
        out[i, k:] = frame[k:]
        if on_step:
            on_step(i, len(frames))
    return out


def statistics(frames: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Mean k and covariance k k of the first k channels over all pixels: n c H W; on the CPU, in float64"""
    n = len(frames)
    parts = [frame[:k].float().flatten(1) for frame in frames]
    mean = sum(p.mean(1) for p in parts) / n
    products = sum((p - mean[:, None]) @ (p - mean[:, None]).T / p.shape[1] for p in parts) / n
    return mean.cpu().double(), products.cpu().double()


def root(m: Tensor, power: float) -> Tensor:
    """Power of a symmetric matrix, its eigenvalues kept above the noise of a flat frame: k k -> k k"""
    values, vectors = torch.linalg.eigh(m)
    return vectors @ torch.diag(values.clamp(min=1e-6) ** power) @ vectors.T


def transport(source: Tensor, target: Tensor) -> Tensor:
    """The symmetric matrix that turns one covariance into the other: k k, k k -> k k"""
    half, inverse = root(source, 0.5), root(source, -0.5)
    return inverse @ root(half @ target @ half, 0.5) @ inverse
