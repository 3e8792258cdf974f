"""The stages' losses, and the file that training ends in; at sizes that mean nothing but run at once."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from svd_core.checkpoint import read as checkpoint
from svd_core.checkpoint.load import load
from svd_core.checkpoint.presets import Preset
from svd_core.models.configs import CLIPConfig, UNetConfig, VAEConfig
from svd_core.models.image_encoder import CLIPVision
from svd_core.models.unet import VideoUNet
from svd_core.models.vae import SCALE, VAE
from svd_core.training import autoencoder, diffusion, export
from svd_core.training.clips import PER_FILE, ClipSet
from svd_core.training.codes import LinearCode
from svd_core.training.scenes import motion_bucket

UNET = UNetConfig(
    model_channels=8,
    channel_mult=(1, 1),
    num_res_blocks=1,
    attention_levels=(True, False),
    context_dim=12,
    adm_in_channels=768,
    head_dim=8,
    norm_groups=4,
)
VAE_CONFIG = VAEConfig(
    ch=8,
    ch_mult=(1, 1, 1, 1),
    num_res_blocks=1,
    z_channels=4,
    temporal=True,
    embedder=True,
    native_encoder=False,
    quant_conv=False,
    post_quant_conv=False,
    norm_groups=4,
)
CLIP = CLIPConfig(width=16, layers=1, mlp=16, patch=16, projection=12, image_size=32, heads=2)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    found = ClipSet(tmp_path_factory.mktemp("clips"), count=PER_FILE, frames=4, size=64)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (PER_FILE, 4, 8, 8, 3), dtype=np.uint8).repeat(8, axis=2).repeat(8, axis=3)
    np.save(found.file("clips", 0), frames)
    np.save(found.file("speed", 0), rng.uniform(0, 0.005, (PER_FILE, 3)).astype(np.float32))
    return found


@pytest.fixture
def networks():
    generator = torch.Generator().manual_seed(3)
    found = VideoUNet(UNET), VAE(VAE_CONFIG), CLIPVision(CLIP)
    for network in found:
        for p in network.parameters():
            torch.nn.init.normal_(p, std=0.1, generator=generator)
    return found


def pooled(x):
    """A stand-in for an encoder: four channels of 8 x 8 means."""
    small = torch.nn.functional.avg_pool2d(x, 8)
    return torch.cat([small, small[:, :1]], dim=1) / SCALE


STAGE = diffusion.Stage(
    frames=4, shapes=((64, 2),), P_mean=0.0, P_std=1.0, first_frame=True, drop_token=0.0, drop_latent=0.0
)


class PerfectUNet:
    """Knows z, so that D(x; sigma) = z: what the loss must call perfect."""

    def __init__(self, z):
        self.z = z

    def __call__(self, x, c_noise, context, y, **_):
        sigma = torch.exp(4 * c_noise).view(-1, 1, 1, 1)
        noisy = x[:, :4] * (sigma**2 + 1).sqrt()
        return (self.z - noisy / (sigma**2 + 1)) / (-sigma / (sigma**2 + 1).sqrt())


class Networks:
    def __init__(self, unet, clip):
        self.unet, self.clip = unet, clip


def test_loss_is_zero_for_the_perfect_denoiser(clips, networks):
    loss = diffusion.DiffusionLoss(clips, STAGE, pooled)
    z = diffusion.draw_batch(np.random.default_rng(7), clips, STAGE, pooled).z
    value, _ = loss(Networks(PerfectUNet(z), networks[2]), np.random.default_rng(7), 0)
    assert float(value.detach()) < 1e-8  # float32 rounding


def test_loss_of_an_unknowing_network_is_that_of_unit_variance(clips, networks):
    def zero(x, *_, **__):
        return torch.zeros_like(x[:, :4])

    loss = diffusion.DiffusionLoss(clips, replace(STAGE, shapes=((64, 24),)), pooled)
    rng = np.random.default_rng(1)
    value, _ = loss(Networks(zero, networks[2]), rng, 0)
    z = diffusion.draw_batch(np.random.default_rng(1), clips, replace(STAGE, shapes=((64, 24),)), pooled).z
    assert min(float(z.square().mean()), 1) - 0.05 < float(value) < max(float(z.square().mean()), 1) + 0.05


def test_batch_carries_the_measured_motion_and_the_first_frame(clips):
    batch = diffusion.draw_batch(np.random.default_rng(2), clips, STAGE, pooled)
    assert batch.z.shape == (8, 4, 8, 8)
    assert batch.vector.shape == (2, 768)
    angles = torch.atan2(
        batch.vector.view(2, 3, 2, 128)[:, 1, 1, 0], batch.vector.view(2, 3, 2, 128)[:, 1, 0, 0]
    )
    means = [float(clips.speed(i).mean()) for i in range(clips.count)]
    allowed = [motion_bucket(m, fps=f) for m in means for f in range(5, 31)]
    for angle in angles:  # the first sinusoid has frequency 1: the bucket modulo 2 pi
        assert min(abs(np.angle(np.exp(1j * (float(angle) - a)))) for a in allowed) < 1e-3
    error = (
        (batch.concat * SCALE - batch.z[::4]).abs().mean()
    )  # the condition's noise, averaged over 64 pixels
    assert 0 < error < 0.05


def test_image_stage_leaves_temporal_layers_alone(clips, networks):
    model = diffusion.Diffusion(networks[0], networks[2])
    stage = replace(STAGE, frames=1, first_frame=False)
    value, _ = diffusion.DiffusionLoss(clips, stage, pooled)(model, np.random.default_rng(0), 0)
    value.backward()
    for name, p in model.unet.named_parameters():
        temporal = "time_stack" in name or "time_pos_embed" in name or "time_mixer" in name
        unread = "attn2.to_q" in name or "attn2.to_k" in name or "transformer_blocks.0.norm2" in name
        assert (p.grad is None) == (temporal or unread), name


def test_token_and_latent_can_be_dropped(clips, networks):
    seen = []

    def watch(x, c_noise, context, y, **_):
        seen.append((x[:, 4:].abs().sum(), context.abs().sum()))
        return x[:, :4]

    stage = replace(STAGE, drop_token=1.0, drop_latent=1.0)
    diffusion.DiffusionLoss(clips, stage, pooled)(Networks(watch, networks[2]), np.random.default_rng(0), 0)
    assert seen[0] == (0, 0)


def test_initial_unet_predicts_zero(networks):
    unet = networks[0]
    diffusion.initialise(unet)
    out = unet(torch.randn(4, 8, 8, 8), torch.zeros(4), torch.randn(4, 1, 12), torch.randn(4, 768), t=4)
    assert out.abs().max() == 0


def test_temporal_layers_start_as_the_frame_wise_decoder(networks):
    vae = networks[1]
    autoencoder.initialise_time(vae)
    z = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    assert_close(vae.decode(z, t=3), torch.cat([vae.decode(f[None], t=1) for f in z]), rtol=1e-4, atol=1e-5)


def test_only_temporal_layers_learn_in_the_temporal_stage(clips, networks):
    vae = networks[1]
    autoencoder.freeze_space(vae)
    loss = autoencoder.TemporalLoss(
        clips, LinearCode(torch.randn(4, 3, 8, 8), torch.zeros(4)), batch=1, frames=3, size=16
    )
    value, facts = loss(vae, np.random.default_rng(0), 0)
    value.backward()
    assert facts["flicker"] > 0
    learning = {name for name, p in vae.named_parameters() if p.grad is not None}
    assert learning
    assert all("time_stack" in n or "mix_factor" in n or "time_mix_conv" in n for n in learning)


def test_colour_code_has_the_released_deviation():
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    code = autoencoder.principal_colours(z=4)
    frames = autoencoder.to_tensor(
        np.stack(
            [autoencoder.photographs.square(name, size=256) for name in autoencoder.photographs.TRAINING]
        )
    )
    z = code(frames)
    assert float(z.square().mean().sqrt()) == pytest.approx(1 / SCALE, rel=0.02)
    assert z.mean((0, 2, 3)).abs().max() < 0.02


def test_written_file_loads_by_the_ordinary_road(tmp_path, networks):
    unet, vae, clip = networks
    preset = Preset("tiny", frames=4, width=64, height=64, max_cfg=1.5)
    path = tmp_path / "tiny.safetensors"
    export.write(path, unet, vae, clip, preset=preset, factors=[[0.1, 0.2, 0.3]] * 4)
    found = checkpoint.read(path)
    assert found.kind == "svd"
    assert found.preset == preset
    assert not found.report.unknown
    assert found.hints.latent_rgb_factors == [[0.1, 0.2, 0.3]] * 4
    svd = load(checkpoint.read(path), dtype=torch.float32)
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert_close(
        svd.vae.encode(x, native=True), svd.vae.encode(x), rtol=2e-2, atol=2e-3
    )  # folded, then rounded to half
    args = torch.randn(4, 8, 8, 8), torch.zeros(4), torch.randn(4, 1, 12), torch.randn(4, 768)
    assert_close(svd.unet(*args, t=4), unet(*args, t=4), rtol=2e-2, atol=2e-2)  # half-precision weights
    picture = torch.rand(1, 3, 32, 32)
    assert_close(svd.clip(picture), clip(picture), rtol=2e-2, atol=2e-2)


def test_rgb_factors_recover_a_linear_code(clips, networks):
    class Linear:
        def encode(self, x):
            return pooled(x) @ torch.eye(x.shape[-1] // 8)

    factors = torch.tensor(export.rgb_factors(Linear(), clips, count=8))
    assert_close(factors[1:3], torch.tensor([[0, 1.0, 0], [0, 0, 1.0]]), rtol=0, atol=1e-3)
    assert_close(factors[0] + factors[3], torch.tensor([1.0, 0, 0]), rtol=0, atol=1e-3)


def test_copying_unet_starts_at_minus_the_condition():
    unet = VideoUNet(replace(UNET, model_channels=32, norm_groups=8))
    diffusion.initialise(unet)
    diffusion.initialise_copy(unet)
    generator = torch.Generator().manual_seed(0)
    x, cond = (torch.randn(4, 4, 8, 8, generator=generator) for _ in range(2))
    F = unet(
        torch.cat([x, cond / SCALE], dim=1), torch.zeros(4), torch.randn(4, 1, 12), torch.randn(4, 768), t=4
    )
    assert (F + cond).norm() < 0.2 * cond.norm()  # the norm still varies a little with the contrast


def test_copying_needs_room_in_the_norm_groups():
    with pytest.raises(ValueError, match="8 channels in 4 groups leave no room"):
        diffusion.initialise_copy(VideoUNet(UNET))


def test_noise_levels_of_a_batch_are_spread_evenly():
    stage = replace(STAGE, P_mean=0.5, P_std=2.0)
    for seed in range(5):
        levels = diffusion.draw_noise_levels(np.random.default_rng(seed), stage, 8)
        quantiles = torch.special.ndtr((levels - 0.5) / 2.0).sort().values
        assert_close(quantiles.diff(), torch.full((7,), 1 / 8, dtype=levels.dtype), rtol=0, atol=1e-4)


def test_steps_go_round_the_shapes(clips):
    stage = replace(STAGE, shapes=((64, 1), (32, 3)), pans=1.0)
    found = [
        diffusion.draw_batch(np.random.default_rng(0), clips, stage, pooled, step=s).z.shape for s in range(3)
    ]
    assert found == [(4, 4, 8, 8), (12, 4, 4, 4), (4, 4, 8, 8)]
