"""A checked checkpoint -> networks ready to run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch

from ..models import ops as core_ops
from ..models.image_encoder import CLIPVision
from ..models.ops import Ops
from ..models.unet import VideoUNet
from ..models.vae import VAE
from .checkpoint import Checkpoint, Tensors, require_whole
from .presets import Preset
from .report import Report
from .sizes import without_values

Device = str | torch.device
NETWORKS = {"unet": VideoUNet, "vae": VAE, "clip": CLIPVision}


@dataclass
class SVD:
    """Networks ready to run."""

    unet: VideoUNet
    vae: VAE
    clip: CLIPVision
    preset: Preset
    report: Report


def _common_format(tensors: Tensors) -> torch.dtype:
    sizes: Counter[torch.dtype] = Counter()
    for tensor in tensors.values():
        sizes[tensor.dtype] += tensor.numel() if tensor.element_size() > 1 else 0
    return sizes.most_common(1)[0][0]


def load(
    checkpoint: Checkpoint,
    *,
    dtype: torch.dtype | None = None,
    device: Device = "cpu",
    ops: Ops = core_ops,
) -> SVD:
    """Networks from what `read` gave: built without memory, then given its tensors.

    Without a dtype they stay as stored; where one network mixes formats,
    its largest of 16 bits or more serves all.
    """
    require_whole(checkpoint)
    networks: dict[str, Any] = {}
    for name, build in NETWORKS.items():
        found = checkpoint.network(name)
        network = without_values(build, found.config, ops=ops)
        common = dtype or _common_format(found.tensors)
        placed = {key: tensor.to(device=device, dtype=common) for key, tensor in found.tensors.items()}
        network.load_state_dict(placed, strict=True, assign=True)
        networks[name] = network.eval().requires_grad_(False)
    return SVD(**networks, preset=checkpoint.preset, report=checkpoint.report)
