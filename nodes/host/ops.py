"""The host's layer classes, with the core's faster route where a layer is plain on a CPU."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import comfy.ops
import torch

from ...svd_core.models import ops as core_ops


def _plain(layer: torch.nn.Module, x: torch.Tensor) -> bool:
    """No cast, no patch at cast time, nothing to move: the layer is what torch made of it."""
    weight = layer.weight
    return (
        x.device.type == "cpu"
        and weight is not None
        and weight.device.type == "cpu"
        and x.dtype == weight.dtype
        and not (layer.weight_function or layer.bias_function)
    )


class _Casting:
    """Tells the core whether the host casts this layer's weights to its input's dtype."""

    comfy_cast_weights: bool

    @property
    def casts_weights(self) -> bool:
        return bool(self.comfy_cast_weights)


@cache
def fast(base) -> SimpleNamespace:
    """`base` (a class of `comfy.ops`) as the `ops` of our networks."""

    class Linear(_Casting, base.Linear):
        def forward(self, x, *args, **kwargs):
            if _plain(self, x):
                comfy.ops.run_every_op()
                return core_ops.linear(x, self.weight, self.bias)
            return super().forward(x, *args, **kwargs)

    class GroupNorm(_Casting, base.GroupNorm):
        def forward(self, x, inplace=False):
            if _plain(self, x):
                comfy.ops.run_every_op()
                return core_ops.group_norm(
                    x, self.num_groups, self.weight, self.bias, self.eps, inplace=inplace
                )
            return super().forward(x)

        def normalize(self, x, mean, variance, out=None):
            if not (self.comfy_cast_weights or self.weight_function or self.bias_function):
                return core_ops.normalize(x, mean, variance, self.weight, self.bias, self.eps, out=out)
            weight, bias, stream = comfy.ops.cast_bias_weight(self, x, offloadable=True)
            y = core_ops.normalize(x, mean, variance, weight, bias, self.eps, out=out)
            comfy.ops.uncast_bias_weight(self, weight, bias, stream)
            return y

    class Conv2d(_Casting, base.Conv2d):
        pass

    class Conv3d(_Casting, base.Conv3d):
        pass

    return SimpleNamespace(
        Linear=Linear,
        GroupNorm=GroupNorm,
        LayerNorm=base.LayerNorm,
        Conv2d=Conv2d,
        Conv3d=Conv3d,
        Embedding=base.Embedding,
    )
