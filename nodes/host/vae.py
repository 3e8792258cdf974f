"""VAE: the host's class around our autoencoder, decoding exactly whatever memory is free."""

from __future__ import annotations

import logging

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import torch
from torch import Tensor

from ...svd_core.checkpoint import read as core_checkpoint
from ...svd_core.checkpoint.checkpoint import Checkpoint
from ...svd_core.checkpoint.convert import fold_quant_conv
from ...svd_core.decode.exact import decode
from ...svd_core.decode.plan import TIERS, plan
from ...svd_core.models.vae import VAE
from .. import convert
from . import finite, ops
from .progress import on_step

FREE_SHARE = 0.8  # of the free memory; the rest is for the convolution kernels
RETRIES = 3  # each in half the memory of the one before


class FirstStage(VAE):
    """The core autoencoder under the two calls the host's VAE class makes."""

    def encode(self, x: Tensor, *, native: bool = True, **kwargs) -> Tensor:
        return super().encode(x, native=native)

    def decode(self, z: Tensor, *, t: int | None = None, **kwargs) -> Tensor:
        return super().decode(z, t=t or z.shape[0])


class _NotOurWarning(logging.Filter):
    def filter(self, record):
        return "No VAE weights detected" not in record.getMessage()


class PureVAE(comfy.sd.VAE):
    """One clip a LATENT; the pixels never depend on free memory or tile size."""

    def __init__(self, checkpoint: Checkpoint, *, disable_dynamic: bool = False):
        quiet = _NotOurWarning()
        logging.getLogger().addFilter(quiet)  # the weights come below, not through the host's detection
        try:
            super().__init__(sd={})
        finally:
            logging.getLogger().removeFilter(quiet)
        mm = comfy.model_management
        self.preset, self.where = checkpoint.preset, checkpoint.report.where
        self.device, self.output_device = mm.vae_device(), mm.intermediate_device()
        self.vae_dtype = mm.vae_dtype(self.device, self.working_dtypes)
        offload = mm.vae_offload_device()
        model = FirstStage(
            checkpoint.vae_config,
            ops=ops.fast(comfy.ops.disable_weight_init),
            dtype=self.vae_dtype,
            device=offload,
        ).eval()
        self.first_stage_model = model.requires_grad_(False)
        mm.archive_model_dtypes(model)
        make = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
        self.patcher = make(model, load_device=self.device, offload_device=offload)
        model.load_state_dict(checkpoint.vae, strict=True, assign=self.patcher.is_dynamic())
        self.model_size()

    def encode_reference(self, x: Tensor) -> Tensor:
        """b 3 H W in [-1, 1] -> the posterior mean b 4 h w of the condition embedder's encoder, unscaled"""
        self._load(self.memory_used_encode(x.shape, self.vae_dtype))
        rows = [
            self.first_stage_model.encode(row.to(self.device, self.vae_dtype), native=False)
            for row in x.split(1)
        ]
        return self._checked(torch.cat(rows)).to(self.output_device, torch.float32)

    def decode_exact(self, z: Tensor, memory: int = 0, *, quiet: bool = False) -> Tensor:
        """t 4 h w, unscaled -> t H W 3 in [0, 1]; `memory` in bytes bounds the activations,
        0 = what is free. `quiet` leaves the node's progress bar to others.
        """
        report = None if quiet else on_step()
        z = z[:, :, 0] if z.ndim == 5 else z
        quick = plan(
            self.first_stage_model.config,
            *z.shape[:1],
            *z.shape[2:],
            itemsize=self.vae_dtype.itemsize,
            memory=memory or TIERS[-1],
            can_offload=self.device.type != "cpu",
        )
        self._load(quick.peak)
        z = z.to(self.device, self.vae_dtype)
        budget = memory or int(self.patcher.get_free_memory(self.device) * FREE_SHARE)
        for attempts_left in range(RETRIES, -1, -1):
            try:
                x = decode(self.first_stage_model, z, t=len(z), memory=budget, on_step=report)
                return convert.image(self._checked(x).float()).to(self.output_device, self._output_dtype())
            except Exception as error:
                if memory or not attempts_left or not _is_out_of_memory(error):
                    raise
                logging.warning(
                    "decoding in %.1f GiB ran out of memory; trying again in half", budget / 2**30
                )
            comfy.model_management.soft_empty_cache()
            budget //= 2
        raise AssertionError("the last attempt returns or raises")

    def decode(self, samples_in: Tensor, vae_options=None, **kwargs) -> Tensor:
        return self.decode_exact(samples_in)

    def decode_tiled(self, samples: Tensor, tile_x=None, tile_y=None, overlap=None, **kwargs) -> Tensor:
        """Exact decoding is bounded already; a tile only says how much memory to use."""
        return self.decode_exact(samples)

    def get_sd(self) -> dict[str, Tensor]:
        return host_layout(self.first_stage_model.state_dict())

    def _checked(self, x: Tensor) -> Tensor:
        return finite.check(x, self.first_stage_model, self.where)

    def _load(self, memory: float) -> None:
        comfy.model_management.load_models_gpu([self.patcher], memory_required=memory, force_full_load=True)

    def _output_dtype(self) -> torch.dtype:
        choose = getattr(comfy.model_management, "intermediate_dtype", None)  # hosts before 0.18 have none
        return choose() if choose else torch.float32


def _is_out_of_memory(error: Exception) -> bool:
    known = getattr(comfy.model_management, "is_oom", None)  # hosts before 0.18 have none
    return known(error) if known else isinstance(error, comfy.model_management.OOM_EXCEPTION)


def host_layout(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors under the names of a native VAE: one encoder, the reference's where there is one.

    A decoder without post_quant_conv belongs to a class without quant_conv, so that is folded into conv_out.
    """
    first = {
        k.removeprefix("first_stage_model."): v
        for k, v in state.items()
        if k.startswith("first_stage_model.")
    }
    embedder = {k.removeprefix("embedder."): v for k, v in state.items() if k.startswith("embedder.")}
    encoder = embedder or {k: v for k, v in first.items() if k.startswith(("encoder.", "quant_conv."))}
    saved = {**encoder, **{k: v for k, v in first.items() if not k.startswith(("encoder.", "quant_conv."))}}
    if "quant_conv.weight" in saved and "post_quant_conv.weight" not in saved:
        quant = saved.pop("quant_conv.weight"), saved.pop("quant_conv.bias")
        names = "encoder.conv_out.weight", "encoder.conv_out.bias"
        saved.update(zip(names, fold_quant_conv(*(saved[name] for name in names), *quant)))
    return saved


def exact(vae) -> PureVAE | comfy.sd.VAE:
    """A VAE whose decode depends on the clip alone: ours, also over a native one's tensors, or frame-wise."""
    if isinstance(vae, PureVAE):
        return vae
    first = getattr(vae, "first_stage_model", None)
    if first is None or getattr(vae, "latent_channels", None) != 4 or getattr(vae, "latent_dim", None) != 2:
        found = getattr(vae, "latent_channels", "no")
        raise ValueError(
            f"this VAE decodes latents of {found} channels, a Stable Video Diffusion latent has 4; "
            "use the VAE of the video checkpoint"
        )
    tensors = {f"first_stage_model.{name}": tensor for name, tensor in vae.get_sd().items()}
    return PureVAE(core_checkpoint.read("the wired VAE", tensors=tensors))
