"""diffusers' U-Net and decoder on a checkpoint's tensors, as a way of `stages`; the photo is described by the
way before, and our sampler calls its network.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from svd_core import pipeline
from svd_core.conditioning.conditioning import Conditioning, micro_conditions
from svd_core.models.vae import SCALE
from svd_core.sampling.guidance import guided, linear
from svd_core.sampling.noise_levels import SCHEDULES
from svd_core.sampling.samplers import SAMPLERS, initial

from . import peers
from .stages import Job, Results, Way, line


class Network(torch.nn.Module):
    """diffusers' network under the call of ours; `ids` are fps - 1, motion and augmentation."""

    def __init__(self, theirs: torch.nn.Module, ids: Tensor):
        super().__init__()
        self.theirs, self.ids = theirs, ids

    def forward(self, x: Tensor, c_noise: Tensor, context: Tensor, y: Tensor, *, t: int, **_) -> Tensor:
        clips = x.unflatten(0, (-1, t))
        ids = self.ids.expand(len(clips), -1)
        return self.theirs(clips, c_noise[0], context[::t].to(x.dtype), ids).sample.flatten(0, 1)


def steps(checkpoint: Path, job: Job, way: Way, first: Results) -> Results:
    """Latent and frames, in the number format of the first way."""
    if not first:
        raise ValueError("no way before this one described the photo")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, way.dtype or "float32")
    svd = pipeline.load(checkpoint, dtype=dtype, device=device)
    ids = torch.tensor([[job.fps - 1, job.motion_bucket_id, 0.0]], device=device, dtype=dtype)
    network = Network(peers.diffusers_unet(svd.unet), ids)
    del svd.unet
    numbers = dict(fps=job.fps, motion_bucket_id=job.motion_bucket_id, augmentation_level=0.0)
    parts = first["image embedding"], first["photo latent"], micro_conditions(1, **numbers)
    condition = Conditioning(*(part.to(device) for part in parts))

    def sample(steps: int) -> Tensor:
        sigmas = SCHEDULES["karras"](steps)
        shape = (job.frames, 4, job.height // 8, job.width // 8)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(job.seed)).to(device)
        denoise = guided(network, condition, linear(job.min_cfg, job.max_cfg, job.frames))
        return SAMPLERS["euler"](denoise, initial(noise, sigmas[0]), sigmas) / SCALE

    if device == "cuda":
        sample(1)
    with way.stage("sample"):
        latent = sample(job.steps)
    found = {"latent": latent}
    try:
        decoder = peers.diffusers_vae(svd.vae)
    except RuntimeError as error:
        way.notes.append(f"its decoder has another shape ({line(error)})")
        return found
    with way.stage("decode"):
        z = first["latent"].to(device, dtype)
        frames = decoder.decode(z, num_frames=job.frames).sample.float()
    return found | {"frames": frames.clamp(-1, 1).add(1).div(2).movedim(1, -1)}
