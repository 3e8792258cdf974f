"""NaN and infinite results: looked for where they first appear, and blamed on the weight they come from."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def is_finite(x: Tensor) -> bool:
    x = x if x.dtype.itemsize > 1 else x.float()  # 8-bit formats have no such test
    return bool(torch.isfinite(x).all())


def check(result: Tensor, network: nn.Module, where: str) -> Tensor:
    """The result, when it is finite; the weights are only searched when it is not."""
    if is_finite(result):
        return result
    weights = {name: x for name, x in network.state_dict().items() if x is not None and x.is_floating_point()}
    for name, x in weights.items():
        if not is_finite(x):
            raise ValueError(
                f"{where} is damaged: {name} holds NaN or infinite weights; download it again, or take out "
                "the LoRA that was merged into it"
            )
    raise ValueError(
        f"{where} gives NaN or infinite values in {str(result.dtype).removeprefix('torch.')}; check its "
        "input, LoRAs and other patches, or load it with weight_dtype fp32"
    )
