"""MODEL: the host's model class around our U-Net, with the native configuration keys other packs read."""

from __future__ import annotations

import math
from functools import partial

import comfy.cli_args
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import comfy.supported_models
import comfy.utils
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import Timestep
from torch import Tensor

from ...svd_core.checkpoint.presets import METADATA, Preset, to_tensor
from ...svd_core.models import ops as core_ops
from ...svd_core.models.configs import UNetConfig
from ...svd_core.models.unet import VideoUNet
from ..convert import kept
from . import fast, finite, ops, windows
from .hooks import HostHooks
from .preview import show_whole_clip


class HostUNet(VideoUNet):
    """The core network under the call and the wrappers of the host's UNetModel."""

    def __init__(self, *, config: UNetConfig, operations, dtype=None, device=None, **native_keys):
        super().__init__(config, ops=ops.fast(operations), dtype=dtype, device=device)
        self.dtype = dtype

    def forward(
        self, x, timesteps=None, context=None, y=None, control=None, transformer_options=None, **kwargs
    ):
        options = {} if transformer_options is None else transformer_options
        wrappers = comfy.patcher_extension.get_all_wrappers(
            comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, options
        )
        executor = comfy.patcher_extension.WrapperExecutor.new_class_executor(self._forward, self, wrappers)
        return executor.execute(x, timesteps, context, y, control, options, **kwargs)

    def _forward(
        self,
        x,
        timesteps,
        context,
        y,
        control,
        transformer_options,
        *,
        num_video_frames=None,
        time_context=None,
        **kwargs,
    ) -> Tensor:
        """x n 8 h w, timesteps n (c_noise), context n l e, y n a -> v n 4 h w;
        n = videos * num_video_frames
        """
        self._check(context, y)
        inputs = {"x": x, "context": context, "y": y, "timesteps": timesteps}
        hooks = HostHooks(transformer_options, control, config=self.config, inputs=inputs)
        t = num_video_frames or x.shape[0]
        if time_context is not None:  # one row a frame; a video is described by its first
            time_context = time_context[::t]
        network = fast.reusing(super().forward, transformer_options, hooks, x.shape)
        return network(x, timesteps, context, y, t=t, time_context=time_context, hooks=hooks)

    def _check(self, context: Tensor | None, y: Tensor | None) -> None:
        e, a = self.config.context_dim, self.config.adm_in_channels
        if context is None or context.shape[-1] != e:
            found = "none" if context is None else context.shape[-1]
            raise ValueError(
                f"the image embedding has width {found}, this model takes {e}; "
                "use the CLIP_VISION of the same checkpoint"
            )
        if y is None or y.shape[-1] != a:
            found = "none" if y is None else y.shape[-1]
            raise ValueError(f"the conditioning vector has width {found}, this model takes {a}")


class _PureModel(comfy.model_base.BaseModel):
    """What our model classes add to the host's: our network, its memory, checks,
    and metadata that survives a save.
    """

    # Peak of a pass in units of one full-size feature map n h w model_channels:
    # 30 measured on a CPU in float32, # guided, 14 frames of 24 x 40 latents;
    # the rest is room for the kernels.
    ACTIVATION = 40.0

    def __init__(self, model_config, unet: UNetConfig, hints: str, preset: Preset, device=None):
        network = partial(HostUNet, config=unet)
        kind = comfy.model_base.ModelType.V_PREDICTION_EDM
        # the host's SVD classes name their network in their constructors; only BaseModel's takes another
        comfy.model_base.BaseModel.__init__(self, model_config, kind, device=device, unet_model=network)
        self.embedder = Timestep(256)
        self.hints = hints  # JSON: what the tensors cannot tell
        self.preset = preset
        self.where = "the model"  # the file, for messages

    def apply_model(self, *args, **kwargs):
        windows.check(kwargs.get("transformer_options") or {})
        return finite.check(super().apply_model(*args, **kwargs), self.diffusion_model, self.where)

    def resize_cond_for_context_window(self, cond_key, cond_value, window, *args, **kwargs):
        return windows.resized(cond_key, cond_value, window)

    def memory_required(self, input_shape, cond_shapes=None):
        """Bytes for one forward of input_shape n c h w, without the weights."""
        positions = input_shape[0] * math.prod(input_shape[2:])
        item = comfy.model_management.dtype_size(self.get_dtype_inference())
        return positions * self.diffusion_model.config.model_channels * item * self.ACTIVATION

    def state_dict_for_saving(self, *args, **kwargs):
        state = super().state_dict_for_saving(*args, **kwargs)
        state[METADATA] = to_tensor(self.hints)
        return state


def check_photo(noise: Tensor, photo: Tensor | None) -> None:
    """The host crops the photo to the latent's aspect; nothing must not be left of it."""
    if photo is None:
        return
    (h, w), (H, W) = photo.shape[-2:], noise.shape[-2:]
    wide, high = kept(w, h, W, H)
    if wide < min(w, 2) or high < min(h, 2):
        raise ValueError(
            f"the photo was described for {8 * w}x{8 * h} pixels, the latent is {8 * W}x{8 * H}; use the "
            "latent of the same Image to Video"
        )


class PureSVD(_PureModel, comfy.model_base.SVD_img2vid):
    def extra_conds(self, **kwargs):
        check_photo(kwargs["noise"], kwargs.get("concat_latent_image"))
        if "azimuth" in kwargs or "elevation" in kwargs:
            raise ValueError(
                "this conditioning describes an SV3D orbit, the model is SVD; use Image to Video instead"
            )
        return super().extra_conds(**kwargs)


class _Orbit(_PureModel):
    def extra_conds(self, **kwargs):
        if "motion_bucket_id" in kwargs:
            raise ValueError(
                "this model is SV3D, which orbits an object; motion and fps mean nothing to it. "
                "Use SV3D_Conditioning, or load an SVD checkpoint such as svd_xt.safetensors"
            )
        return super().extra_conds(**kwargs)


class PureSV3Du(_Orbit, comfy.model_base.SV3D_u):
    pass


class PureSV3Dp(_Orbit, comfy.model_base.SV3D_p):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.embedder_512 = Timestep(512)


CLASSES = {
    768: (comfy.supported_models.SVD_img2vid, PureSVD),
    256: (comfy.supported_models.SV3D_u, PureSV3Du),
    1280: (comfy.supported_models.SV3D_p, PureSV3Dp),
}


def unet_keys(config: UNetConfig) -> dict:
    """The native names for our configuration: LoRA mapping, FreeU and saving read them."""
    blocks = config.num_res_blocks
    levels = [int(a) for a in config.attention_levels]
    return {
        "image_size": 32,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "model_channels": config.model_channels,
        "channel_mult": list(config.channel_mult),
        "num_res_blocks": [blocks] * len(levels),
        "context_dim": config.context_dim,
        "transformer_depth": [a for a in levels for _ in range(blocks)],
        "transformer_depth_output": [a for a in levels for _ in range(blocks + 1)],
        "transformer_depth_middle": 1,
        "num_classes": "sequential",
        "adm_in_channels": config.adm_in_channels,
        "use_spatial_transformer": True,
        "use_linear_in_transformer": True,
        "legacy": False,
        "use_checkpoint": False,
        "extra_ff_mix_layer": True,
        "use_spatial_context": True,
        "merge_strategy": "learned_with_images",
        "merge_factor": 0.0,
        "video_kernel_size": [3, 1, 1],
        "use_temporal_resblock": True,
        "use_temporal_attention": True,
        "disable_temporal_crossattention": False,
    }


def _named_at_start() -> bool:
    """Whether the host was started with a number format for the U-Net,
    such as --fp32-unet or --force-fp16.
    """
    options = vars(comfy.cli_args.args)
    return any(
        options[name] is True for name in options if name.endswith("_unet") or name.startswith("force_fp")
    )


def make_model(checkpoint, *, dtype=None, disable_dynamic: bool = False):
    """A ModelPatcher holding the checkpoint's U-Net; `dtype` of the weights, None = the host's choice.

    On a CPU the host knows float32 alone; one that multiplies bfloat16 in hardware takes that instead,
    unless a start option of the host names a format.
    """
    mm, unet = comfy.model_management, checkpoint.unet_config
    config_class, model_class = CLASSES[unet.adm_in_channels]
    config = config_class(unet_keys(unet))
    config.unet_config["num_head_channels"] = unet.head_dim
    parameters = sum(w.numel() for w in checkpoint.unet.values())
    device, supported = mm.get_torch_device(), list(config.supported_inference_dtypes)
    quick = device.type == "cpu" and core_ops.runs_bfloat16()
    if dtype is None and quick and not _named_at_start():
        dtype = torch.bfloat16
    if dtype is None:
        stored = comfy.utils.weight_dtype(checkpoint.unet)
        dtype = mm.unet_dtype(model_params=parameters, supported_dtypes=supported, weight_dtype=stored)
    native = quick and dtype == torch.bfloat16 and not comfy.cli_args.args.force_fp32
    config.set_inference_dtype(dtype, None if native else mm.unet_manual_cast(dtype, device, supported))
    if checkpoint.hints.latent_rgb_factors:
        config.latent_format.latent_rgb_factors = checkpoint.hints.latent_rgb_factors
    show_whole_clip(config.latent_format)
    initial = mm.unet_inital_load_device(parameters, dtype)
    model = model_class(config, unet, checkpoint.hints_json(), checkpoint.preset, device=initial)
    model.where = checkpoint.report.where
    make = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = make(model, load_device=device, offload_device=mm.unet_offload_device())
    model.diffusion_model.load_state_dict(checkpoint.unet, strict=True, assign=patcher.is_dynamic())
    if initial != torch.device("cpu"):
        mm.load_models_gpu([patcher], force_full_load=True)
    return patcher
