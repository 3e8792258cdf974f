"""The host's frame interpolation models as the core's `Between`, and the device that makes frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import comfy.model_management
import torch
import torch.nn.functional as F
from torch import Tensor

from ...svd_core.frames.between import Around, Between


def device() -> torch.device:
    return comfy.model_management.get_torch_device()


def free_memory() -> int:
    """Bytes free where the frames of a finished clip are kept."""
    return comfy.model_management.get_free_memory(torch.device("cpu"))


def by_model(patcher) -> Between:
    """INTERP_MODEL -> Between; the model sees RGB, further channels are cross-faded."""

    def between(
        a: Tensor, b: Tensor, times: Sequence[float], around: Around = (None, None)
    ) -> Iterator[Tensor]:
        dtype, model = patcher.model_dtype(), patcher.model
        c, H, W = a.shape[1:]
        needed = model.memory_used_forward((1, H, W, 3), dtype)
        comfy.model_management.load_models_gpu([patcher], memory_required=needed)
        img0, img1 = (padded(rgb(x), model).to(patcher.load_device, dtype) for x in (a, b))
        cache = {"img0": model.extract_features(img0), "img1": model.extract_features(img1)}
        shape = (1, 1, *img0.shape[-2:])
        for t in times:
            plain = torch.lerp(a, b, t)
            timestep = torch.full(shape, t, device=img0.device, dtype=dtype)
            colour = model(img0, img1, timestep=timestep, cache=cache)[..., :H, :W].to(plain)
            yield torch.cat((colour, plain[:, 3:]), 1) if c >= 3 else luminance(colour, plain)

    return between


def rgb(x: Tensor) -> Tensor:
    """1 c H W -> 1 3 H W"""
    return x[:, :3] if x.shape[1] >= 3 else x[:, :1].expand(-1, 3, -1, -1)


def luminance(colour: Tensor, plain: Tensor) -> Tensor:
    """Grey again, with the alpha of `plain` if there is one: 1 3 H W, 1 c H W -> 1 c H W"""
    return torch.cat((colour.mean(1, keepdim=True), plain[:, 1:]), 1)


def padded(x: Tensor, model) -> Tensor:
    """Height and width up to multiples of what the model wants."""
    align = getattr(model, "pad_align", 1)
    H, W = x.shape[-2:]
    return F.pad(x, (0, -W % align, 0, -H % align), mode="replicate")
