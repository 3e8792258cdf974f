"""How close a clip stays to a photograph: in pixels, and as an image encoder sees it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

EXACT = 100.0  # dB; two pictures that are nearer are the same

Embed = Callable[[Tensor], Tensor]  # n 3 H W in [0, 1] -> n e


def psnr(a: Tensor, b: Tensor) -> float:
    """dB, at most `EXACT`: two pictures in [0, 1]"""
    error = float((a.float() - b.float()).square().mean())
    return min(EXACT, -10 * math.log10(error)) if error > 0 else EXACT


def distances(frames: Tensor, photo: Tensor, embed: Embed) -> list[float]:
    """1 - cosine of the embeddings, 0 alike: n 3 H W, 3 H W -> n"""
    a, b = embed(frames).double(), embed(photo[None]).double()
    return [float(x) for x in 1 - torch.cosine_similarity(a, b)]
