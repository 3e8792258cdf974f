"""CONTROL_NET: our control networks under the calls of the host's ControlNets, for its Apply ControlNet."""

from __future__ import annotations

import copy
import logging
from typing import Any

import comfy.controlnet
import comfy.memory_management
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.utils
import torch
from torch import Tensor

from ...svd_core.adapters import controlnet as files
from ...svd_core.models import controlnext
from ...svd_core.models.configs import UNetConfig
from ...svd_core.models.controlnet import factors
from . import ops
from .hooks import HostHooks
from .model import HostUNet

AFTER_SKIP = "after_skip"  # a key of `control` that our U-Net alone knows: (input block, function of h)
RANGES = {"as trained": None, "0 to 1": (0.0, 1.0), "-1 to 1": (-1.0, 1.0)}


class _PureControl(comfy.controlnet.ControlBase):
    """What our two kinds share: the picture of each frame, the range of steps, and the model's patcher."""

    DEFAULT_RANGE = (0.0, 1.0)

    def __init__(self, patcher, hint_range: str):
        super().__init__()
        self.patcher = patcher
        self.hint_range = hint_range
        self.model_sampling: Any = None
        self.cond_hint: Any = None

    @property
    def network(self):
        return self.patcher.model

    def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
        """Residuals of the host's layout for x_noisy (batched_number t) 4 h w,
        joined with the previous ControlNet's.
        """
        previous = None
        if self.previous_controlnet is not None:
            previous = self.previous_controlnet.get_control(
                x_noisy, t, cond, batched_number, transformer_options
            )
        if self.timestep_range is not None and not self.timestep_range[1] <= t[0] <= self.timestep_range[0]:
            return previous
        hint = self._hint(x_noisy, batched_number, transformer_options)
        own = self._control(hint, x_noisy, t, cond, batched_number, transformer_options)
        made = self.control_merge({k: own.get(k, []) for k in ("input", "middle", "output")}, previous, None)
        made[AFTER_SKIP] = [*(previous or {}).get(AFTER_SKIP, []), *own.get(AFTER_SKIP, [])]
        return made

    def _hint(self, x_noisy: Tensor, videos: int, transformer_options: dict) -> Tensor:
        """(videos t) 3 8h 8w in the network's range; the last picture stays where there are too few."""
        size = (x_noisy.shape[-1] * 8, x_noisy.shape[-2] * 8)
        hint: Any = self.cond_hint
        if hint is None or (hint.shape[3], hint.shape[2]) != size:
            pictures = self.cond_hint_original[:, :3].float()
            hint = comfy.utils.common_upscale(pictures.expand(-1, 3, -1, -1), *size, "bilinear", "center")
            low, high = RANGES[self.hint_range] or self.DEFAULT_RANGE
            self.cond_hint = hint = low + (high - low) * hint
        frames = x_noisy.shape[0] // videos
        window = transformer_options.get("context_window")
        chosen = list(window.index_list) if window is not None else list(range(frames))
        chosen = [min(i, len(hint) - 1) for i in chosen]
        return hint[chosen].to(x_noisy.device, self.network.dtype_of_inputs).repeat(videos, 1, 1, 1)

    def _control(self, hint, x_noisy, t, cond, batched_number, transformer_options) -> dict:
        raise NotImplementedError

    def pre_run(self, model, percent_to_timestep_function):
        super().pre_run(model, percent_to_timestep_function)
        self.model_sampling = model.model_sampling
        if not isinstance(model.diffusion_model, HostUNet):
            raise ValueError(
                "this ControlNet is for the video U-Net of this pack; load the model with Load Video "
                "Checkpoint"
            )
        self._fit(model.diffusion_model.config)

    def _fit(self, config: UNetConfig) -> None:
        """Stop where the network is of another width than the U-Net."""
        raise NotImplementedError

    def cleanup(self):
        self.model_sampling = None
        super().cleanup()

    def copy(self):
        made = type(self)(self.patcher, self.hint_range)
        self.copy_to(made)
        return made

    def get_models(self):
        return [*super().get_models(), self.patcher]

    def deepclone_multigpu(self, load_device, autoregister=False):
        made = self.copy()
        network = copy.deepcopy(self.network)
        offload = comfy.model_management.unet_offload_device()
        made.patcher = comfy.model_patcher.ModelPatcher(
            network, load_device=load_device, offload_device=offload
        )
        if autoregister:
            self.multigpu_clones[load_device] = made
        return made


class PureControlNet(_PureControl):
    """A temporal ControlNet: residuals for every skip and the middle."""

    DEFAULT_RANGE = (-1.0, 1.0)  # what its pipeline gives it

    def __init__(self, patcher, hint_range: str, accumulation: str = "as trained"):
        super().__init__(patcher, hint_range)
        self.accumulation = accumulation

    def _fit(self, config: UNetConfig) -> None:
        own, other = (
            (
                c.model_channels,
                c.channel_mult,
                c.num_res_blocks,
                c.context_dim,
                c.adm_in_channels,
                c.in_channels,
            )
            for c in (self.network.config, config)
        )
        if own != other:
            raise ValueError(
                f"this ControlNet was made for a U-Net of width {own[0]} with levels {own[1]}, the model has "
                f"width {other[0]} with levels {other[1]}; use a checkpoint of the size that it was trained "
                "with"
            )

    def copy(self):
        made = super().copy()
        made.accumulation = self.accumulation
        return made

    def _control(self, hint, x_noisy, t, cond, batched_number, transformer_options) -> dict:
        network, dtype = self.network, self.network.dtype_of_inputs
        frames = x_noisy.shape[0] // batched_number
        c_noise = self.model_sampling.timestep(t).float()
        xc = self.model_sampling.calculate_input(t, x_noisy)
        xc = torch.cat([xc, cond["c_concat"].to(xc)], dim=1).to(dtype)
        context, y = cond["c_crossattn"].to(xc), cond["y"].to(xc)
        inputs = {"x": xc, "context": context, "y": y, "timesteps": c_noise}
        hooks = HostHooks({}, None, config=network.config, inputs=inputs)
        skips, middle = network(xc, hint, c_noise, context, y, t=frames, hooks=hooks)
        skips = [r * n for r, n in zip(skips, factors(network.config, self.accumulation))]
        return {"output": [r.to(x_noisy.dtype) for r in skips], "middle": [middle.to(x_noisy.dtype)]}


class PureControlNeXt(_PureControl):
    """ControlNeXt: features that join once, after the first level; not in the unconditional half."""

    block = 0  # input block after which they join: the first downsampling

    def _fit(self, config: UNetConfig) -> None:
        self.block, found = config.num_res_blocks + 1, self.network.mid_convs[1].out_channels
        if found != config.model_channels:
            raise ValueError(
                f"this ControlNeXt gives {found} channels, the model takes {config.model_channels}; use the "
                "checkpoint that it was trained with"
            )

    def _control(self, hint, x_noisy, t, cond, batched_number, transformer_options) -> dict:
        features = self.network(hint, self.model_sampling.timestep(t).float())
        halves = transformer_options.get("cond_or_uncond", [0] * batched_number)
        share = controlnext.SHARE * self.strength
        frames = x_noisy.shape[0] // batched_number
        scale = torch.tensor([0.0 if half == 1 else share for half in halves], device=x_noisy.device)
        scale = scale.repeat_interleave(frames)
        return {AFTER_SKIP: [(self.block, lambda h: controlnext.inject(h, features, scale))]}


def load(path: str, accumulation: str, hint_range: str):
    """A CONTROL_NET of a file."""
    mm = comfy.model_management
    tensors = comfy.utils.load_torch_file if comfy.memory_management.aimdo_enabled else None
    found = files.read(path, tensors)
    logging.info("%s: %s for SVD, %d tensors", path, found.kind, len(found.tensors))
    if found.unknown:
        logging.warning("%s: %d unknown tensors, the first %s", path, len(found.unknown), found.unknown[0])
    device = mm.get_torch_device()
    parameters = sum(tensor.numel() for tensor in found.tensors.values())
    supported = [torch.float16, torch.bfloat16, torch.float32]
    stored = comfy.utils.weight_dtype(found.tensors)
    dtype = mm.unet_dtype(model_params=parameters, supported_dtypes=supported, weight_dtype=stored)
    compute = mm.unet_manual_cast(dtype, device, supported)
    layers = ops.fast(comfy.ops.pick_operations(dtype, compute))
    network = found.build(ops=layers, dtype=dtype, device=mm.unet_offload_device()).eval()
    network.dtype_of_inputs = compute or dtype
    patcher = comfy.model_patcher.CoreModelPatcher(
        network, load_device=device, offload_device=mm.unet_offload_device()
    )
    network.load_state_dict(found.tensors, strict=True, assign=patcher.is_dynamic())
    if found.kind == "ControlNeXt":
        return PureControlNeXt(patcher, hint_range)
    return PureControlNet(patcher, hint_range, accumulation)
