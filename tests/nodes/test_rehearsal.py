"""The host's MODEL, VAE and CLIP_VISION on a pretended GPU: no float32 layer, no tensor left elsewhere."""

import pytest
import torch

from benchmarks import pretend

T, H, W = 3, 16, 24  # frames and latents
HALF = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)


@pytest.fixture
def on_gpu(host, make, monkeypatch):
    """on_gpu(dtype) -> our MODEL, CLIP_VISION and VAE as a host makes them that has a GPU for that dtype."""
    import comfy.model_management as mm
    from comfy.ldm.modules import attention

    def load(dtype):
        halves = {"should_use_fp16": dtype == torch.float16, "should_use_bf16": dtype == torch.bfloat16}
        for name, value in halves.items():
            monkeypatch.setattr(mm, name, lambda *args, value=value, **kwargs: value)
        monkeypatch.setattr(mm, "vae_dtype", lambda *args: dtype)
        monkeypatch.setattr(attention, "optimized_attention", attention.attention_pytorch)
        gpu = torch.device(pretend.DEVICE)
        for name in ("get_torch_device", "vae_device", "text_encoder_device"):
            monkeypatch.setattr(mm, name, lambda *args, **kwargs: gpu)
        for name in ("unet_inital_load_device", "unet_offload_device", "vae_offload_device"):
            monkeypatch.setattr(mm, name, lambda *args, **kwargs: torch.device("cpu"))
        for name in ("load_models_gpu", "load_model_gpu", "soft_empty_cache"):
            monkeypatch.setattr(mm, name, lambda *args, **kwargs: None)
        path = host.base / "models" / "checkpoints" / make("tiny.safetensors")
        source = host.pack("nodes.host.load").Source(path=str(path))
        return host.pack("nodes.host.load").load(source)

    with torch.inference_mode(False):
        yield load


def on_device(*shape, dtype=torch.float32):
    return torch.empty(shape, device=pretend.DEVICE, dtype=dtype)


@HALF
def test_a_step_of_the_model_stays_in_half_precision(on_gpu, dtype):
    """Latents in and out, beside the photo, are float32, as the host has them; the one wait looks for NaN."""
    base = on_gpu(dtype)[0].model
    config = base.diffusion_model.config
    assert base.get_dtype_inference() == dtype
    with pretend.device():
        pretend.moved(base)
        count = pretend.counted(
            lambda: base.apply_model(
                on_device(2 * T, 4, H, W),
                on_device(2 * T),
                c_concat=on_device(2 * T, 4, H, W),
                c_crossattn=on_device(2 * T, 1, config.context_dim),
                y=on_device(2 * T, config.adm_in_channels),
                num_video_frames=T,
                transformer_options={},
            )
        )
    assert count.operators > 300
    assert count.wide <= 2 * T * 8 * H * W
    assert count.waits == 1


@HALF
@pytest.mark.parametrize("gib", [0, 8])
def test_the_vae_decodes_in_half_precision(on_gpu, host, monkeypatch, dtype, gib):
    """Frames leave as float32: one wait a stage, one that looks for NaN, and for latents and frames."""
    vae = on_gpu(dtype)[2]
    stages = host.pack("svd_core.decode.stages").stages(vae.first_stage_model)
    monkeypatch.setattr(vae.patcher, "get_free_memory", lambda device: 8 * 2**30)
    with pretend.device():
        pretend.moved(vae.first_stage_model)
        seen = []
        z = torch.empty(T, 4, H, W)
        run = lambda: seen.append(vae.decode_exact(z, memory=gib * 2**30, quiet=True))  # noqa: E731
        count = pretend.counted(run)
        assert (seen[0].shape, seen[0].device.type) == ((T, 8 * H, 8 * W, 3), "cpu")
    assert count.wide <= T * 3 * 8 * H * 8 * W
    assert count.waits == len(stages) + 3


@HALF
def test_the_vae_encodes_in_half_precision(on_gpu, dtype):
    vae = on_gpu(dtype)[2]
    with pretend.device():
        pretend.moved(vae.first_stage_model)
        x = torch.empty(2, 3, 8 * H, 8 * W)
        count = pretend.counted(lambda: (vae.encode_reference(x), None)[1])
    assert count.operators > 50
    assert count.wide <= 2 * 4 * H * W


@HALF
def test_the_image_encoder_runs_where_its_photo_is(on_gpu, dtype):
    vision = on_gpu(dtype)[1]
    with pretend.device():
        pretend.moved(vision.model)
        x = torch.empty(1, 3, vision.image_size, vision.image_size)
        count = pretend.counted(lambda: (vision.embed(x), None)[1])
    assert count.operators > 20
