"""What happens between two neighbouring frames: movement, change of light,
and how much of it is understood.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..frames.cuts import is_cut, is_still
from ..frames.flow import Quality, bidirectional
from ..frames.warp import positions, warp
from .camera import STILL, Camera, fit
from .light import SCENE, Change, change, relit
from .sizes import reduced

QUALITY = Quality(finest=0, rounds=1, iterations=10)
SMALL = 96  # pixels of the longer side on which light is compared
TOP = 0.05  # share of the picture that counts as the objects, as in VBench's dynamic degree
ASTRAY, ASTRAY_SHARE = 0.5, 0.05  # pixels, and share of its length, by which a vector may miss the way back


@dataclass(frozen=True)
class Step:
    """One pair of frames; lengths in picture widths a frame, means over the picture."""

    cut: bool = False
    still: bool = False
    speed: float = 0.0  # of everything
    camera_speed: float = 0.0  # of the camera alone
    object_speed: float = 0.0  # mean of the fastest 5 % beside the camera
    explained: float | None = None  # share of the change that goes away along the motion
    followed: float | None = None  # share of the picture whose motion is found again on the way back
    camera: Camera = STILL
    light: Change | None = None  # gain and offset, each 3, from this frame to the next
    flow: Tensor | None = None  # 1 2 H W in pixels
    whole: float = 0.0  # as speed, with the camera's movement where a vector is not to be trusted


def between(a: Tensor, b: Tensor) -> Step:
    """1 3 H W, 1 3 H W in [0, 1], reduced -> Step"""
    if is_still(a, b):
        return Step(still=True, light=(torch.ones(3).double(), torch.zeros(3).double()))
    p, q = reduced(a[0], SMALL), reduced(b[0], SMALL)
    if is_cut(p, relit(q, p), threshold=SCENE):
        return Step(cut=True)
    gain, offset = change(p, q)
    b = (b - offset.to(b).view(1, -1, 1, 1)) / gain.to(b).view(1, -1, 1, 1)
    affine, camera = fit(a, b)
    apart = bidirectional(a, warp(b, affine), quality=QUALITY)  # what moves beside the camera
    stays = inside(affine)
    good = way_back(apart) * stays
    trust = good if bool(good.any()) else stays
    flow = affine + apart[:1]
    W = a.shape[-1]
    return Step(
        speed=mean_length(flow, trust) / W,
        camera_speed=mean_length(affine, torch.ones_like(trust)) / W,
        object_speed=fastest(apart[:1], trust) / W,
        explained=explained(a, b, flow),
        followed=float(good.sum() / stays.sum()) if bool(stays.any()) else None,
        camera=camera,
        light=(gain, offset),
        flow=flow,
        whole=mean_length(affine + apart[:1] * trust, torch.ones_like(trust)) / W,
    )


def way_back(flow: Tensor) -> Tensor:
    """1 where the flow back undoes the flow there and stays inside, else 0: 2 2 H W -> 1 1 H W"""
    there = flow[:1]
    astray = (there + warp(flow[1:], there)).square().sum(1, keepdim=True).sqrt()
    good = astray < ASTRAY + ASTRAY_SHARE * there.square().sum(1, keepdim=True).sqrt()
    return (good & inside(there)).float()


def inside(flow: Tensor) -> Tensor:
    """Does a pixel stay in the picture? n 2 H W -> n 1 H W"""
    H, W = flow.shape[-2:]
    x, y = positions(flow)
    return ((x >= 0) & (x <= W - 1) & (y >= 0) & (y <= H - 1))[:, None]


def mean_length(flow: Tensor, weight: Tensor) -> float:
    """Mean length of the vectors, in pixels: 1 2 H W, 1 1 H W"""
    total = weight.sum().clamp(min=1)
    return float((flow.square().sum(1, keepdim=True).sqrt() * weight).sum() / total)


def fastest(flow: Tensor, weight: Tensor) -> float:
    """Mean length of the fastest `TOP` of the trusted vectors, in pixels: 1 2 H W, 1 1 H W"""
    lengths = flow.square().sum(1, keepdim=True).sqrt()[weight > 0]
    if not len(lengths):
        return 0.0
    return float(lengths.topk(max(1, round(TOP * len(lengths)))).values.mean())


def explained(a: Tensor, b: Tensor, flow: Tensor) -> float | None:
    """Share of the difference that following the motion removes, at most 1; None where nothing differs."""
    there = inside(flow)
    before = ((b - a).abs() * there).sum()
    after = ((warp(b, flow) - a).abs() * there).sum()
    return float(1 - after / before) if before > 0 else None


def unsteadiness(before: Tensor, after: Tensor) -> float:
    """Mean change of velocity along the path, in picture widths a frame:
    two flows 1 2 H W of following pairs
    """
    seen = inside(before)
    turned = (warp(after, before) - before).square().sum(1, keepdim=True).sqrt()
    return float((turned * seen).sum() / seen.sum().clamp(min=1)) / before.shape[-1]
