"""Every path of the core on a pretended GPU: devices, dtypes, waits, and what a pass costs there."""

from dataclasses import replace

import pytest
import torch

from benchmarks import peers, pretend, sizes
from svd_core.conditioning.conditioning import Conditioning, embed
from svd_core.conditioning.encode import encode
from svd_core.decode import exact
from svd_core.decode.plan import LEVELS_BELOW, options
from svd_core.decode.stages import stages
from svd_core.models import ops
from svd_core.models.controlnet import ControlNet
from svd_core.models.controlnext import ControlNeXt
from svd_core.models.image_encoder import CLIPVision
from svd_core.models.unet import VideoUNet
from svd_core.models.vae import VAE
from svd_core.sampling.guidance import guided
from svd_core.sampling.samplers import SAMPLERS
from tests.make_checkpoint import clip_config, vae_config

from . import references
from .references import relative_error
from .test_decode import FULL

T = 3
GIB = 2**30
HALF = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)


def placed(network, dtype):
    return peers.seeded(network, dtype, pretend.DEVICE)


def on_device(*shape, dtype=torch.float32):
    return torch.empty(shape, device=pretend.DEVICE, dtype=dtype)


def test_a_pass_at_released_width_costs_what_the_page_says():
    """Counts, so exact; beside them in docs/measurements.md stand native's 1,798, 331 GB and 3.7 GiB."""
    size = sizes.sized("full-xt")
    with pretend.device():
        run = peers.unet_step(size, torch.float16, pretend.DEVICE, [])["PureSVD"]
        count = pretend.counted(run)
    assert count.operators <= 1341
    assert count.touched <= 233e9
    assert count.peak <= 1.93 * GIB
    assert (count.layout_copies, count.waits) == (0, 0)


@HALF
def test_a_guided_pass_runs_on_the_device_without_waiting(dtype):
    config = references.SMALL
    with pretend.device():
        unet = placed(VideoUNet(config, device="meta"), dtype)
        condition = Conditioning(
            on_device(1, 1, config.context_dim),
            on_device(1, 4, 8, 16),
            on_device(1, config.adm_in_channels),
        )
        denoise = guided(unet, condition, torch.linspace(1, 3, T))
        count = pretend.counted(lambda: denoise(on_device(T, 4, 8, 16), torch.tensor(10.0)))
    assert count.operators > 150  # the network did run
    assert count.waits == 0
    assert count.wide <= 2 * T * 4 * 8 * 16  # elements of float32 latents; layers have eight times as many


@HALF
def test_control_networks_run_on_the_device_without_waiting(dtype):
    config = references.SMALL
    with pretend.device():
        network = placed(ControlNet(config, (4, 8, 8, 8), device="meta"), dtype)
        light = placed(ControlNeXt(32, device="meta"), dtype)
        x, hint = on_device(T, 8, 8, 16, dtype=dtype), on_device(T, 3, 64, 128, dtype=dtype)
        context, y = on_device(T, 1, config.context_dim), on_device(T, config.adm_in_channels)
        c_noise = on_device(T)
        count = pretend.counted(lambda: network(x, hint, c_noise, context, y, t=T))
        lightly = pretend.counted(lambda: light(hint, c_noise))
    assert (count.waits, lightly.waits) == (0, 0)
    assert max(count.wide, lightly.wide) <= T * config.adm_in_channels


@pytest.mark.parametrize("draws", [False, True])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers_do_not_wait_for_the_device(sampler, draws):
    with pretend.device():
        x, sigmas = on_device(T, 4, 8, 16), torch.tensor([10.0, 3.0, 1.0, 0.0])
        options = dict(generator=torch.Generator().manual_seed(0))
        run = lambda: SAMPLERS[sampler](lambda x, sigma: x * 0.5, x, sigmas, **options)  # noqa: E731
        count = pretend.counted(run, says=draws)
    assert count.operators >= 3
    assert count.waits == 0


def decoded(config, dtype, t, h, w, keep, monkeypatch):
    """The count of a decode by a plan of our choice, and its plan's own estimate of the activations."""
    plans = options(config, t, h, w, itemsize=dtype.itemsize, can_offload=True)
    chosen = next(plan for plan in plans if plan.keep == keep)
    monkeypatch.setattr(exact, "plan", lambda *a, **k: chosen)
    with pretend.device():
        vae = placed(VAE(config, device="meta"), dtype)
        z = on_device(t, 4, h, w, dtype=dtype)
        return pretend.counted(lambda: exact.decode(vae, z, t=t, memory=GIB)), chosen.activations


@pytest.mark.parametrize("keep", [1.0, LEVELS_BELOW, 0.0])
def test_a_plan_knows_what_decoding_holds(monkeypatch, keep):
    """And waits once a stage; what is copied into another order are pixels, and tokens for attention."""
    config = replace(FULL, num_res_blocks=1)
    count, planned = decoded(config, torch.float16, 14, 144, 128, keep, monkeypatch)
    assert abs(count.peak / planned - 1) <= 0.05
    assert count.waits == len(stages(VAE(config, device="meta")))
    assert count.layout_copies == 14 + 3


@pytest.mark.slow
@pytest.mark.parametrize("t", [14, 25])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("keep", [1.0, LEVELS_BELOW, 0.0])
def test_a_plan_knows_what_decoding_holds_at_released_width(monkeypatch, keep, dtype, t):
    count, planned = decoded(FULL, dtype, t, 72, 128, keep, monkeypatch)
    assert abs(count.peak / planned - 1) <= 0.05
    assert count.waits == (15 if dtype == torch.float16 else 0)


@HALF
def test_a_photo_is_encoded_on_the_device_without_waiting(dtype):
    with pretend.device():
        vae = placed(VAE(vae_config(), device="meta"), dtype)
        clip = placed(CLIPVision(clip_config(), device="meta"), dtype)
        photo = on_device(1, 3, 64, 128)
        seed = torch.Generator().manual_seed(0)
        options = dict(image_size=clip.config.image_size, augmentation_level=0.02, generator=seed)
        count = pretend.counted(
            lambda: encode(lambda x: clip(x.to(dtype)), lambda x: vae.encode(x.to(dtype)), photo, **options)
        )
    assert count.waits == 0


def test_a_tensor_left_on_the_cpu_is_found():
    with pretend.device(), pytest.raises(RuntimeError, match="device"):
        pretend.counted(lambda: on_device(3) + torch.ones(3))
    with pretend.device(), pytest.raises(RuntimeError, match="result is on cpu"):
        pretend.counted(lambda: torch.ones(3))


def test_what_is_counted():
    with pretend.device():
        x = on_device(2, 512, 32, 32)
        count = pretend.counted(
            lambda: [x + x, x.transpose(1, 2).contiguous(), x.half(), x.sum().item(), x][:3]
        )
    assert dict(count.kernels) == {"aten.add": 1, "aten.clone": 1, "aten._to_copy": 1, "aten.sum": 1}
    assert (count.layout_copies, count.casts, count.waits) == (1, 1, 1)
    n = x.numel()
    assert count.touched == 8 * n + 8 * n + 6 * n + 4 * n + 4
    assert count.peak == 4 * n + 4 * n + 2 * n + 4


@torch.no_grad()
@pytest.mark.parametrize("b", [1, 2])
def test_channels_first_gives_what_channels_last_gives(monkeypatch, b):
    """The layout that a GPU gets, run here: other kernels, so another order of sums."""
    unet = references.unet()
    g = torch.Generator().manual_seed(1)
    x = torch.randn(b * T, 8, 8, 16, generator=g)
    context = torch.randn(b, 1, references.UNET.context_dim, generator=g).repeat_interleave(T, 0)
    y = embed(torch.tensor([[6.0, 127.0, 0.02], [11.0, 30.0, 0.1]])[:b]).repeat_interleave(T, 0)
    last = unet(x, torch.full((b * T,), 0.7), context, y, t=T)
    monkeypatch.setattr(ops, "layout", lambda device: torch.contiguous_format)
    first = unet(x, torch.full((b * T,), 0.7), context, y, t=T)
    assert relative_error(first, last) <= 1e-5
