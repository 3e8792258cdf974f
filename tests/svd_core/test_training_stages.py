"""The stages' losses, and the file that training ends in; at sizes that mean nothing but run at once."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from svd_core.checkpoint import read as checkpoint
from svd_core.checkpoint.load import load
from svd_core.checkpoint.presets import Preset
from svd_core.conditioning.conditioning import micro_conditions
from svd_core.models.configs import CLIPConfig, UNetConfig, VAEConfig
from svd_core.models.image_encoder import CLIPVision
from svd_core.models.unet import VideoUNet
from svd_core.models.vae import SCALE, VAE
from svd_core.training import autoencoder, diffusion, export, footage, stages
from svd_core.training.camera import motion_bucket
from svd_core.training.library import to_tensor

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
    small = F.avg_pool2d(x, 8)
    return torch.cat([small, small[:, :1]], dim=1) / SCALE


@pytest.fixture(scope="module")
def stills():
    """Footage of smooth pictures, 64 x 64, encoded by 8 x 8 means."""
    coarse = torch.rand(5, 3, 3, 3, generator=torch.Generator().manual_seed(5))
    pictures = (F.interpolate(coarse, size=64, mode="bicubic").clamp(0, 1) * 255).byte()
    z = pooled(pictures.float() / 127.5 - 1) * SCALE
    return footage.Footage(pictures, z, torch.ones(5, 12))


STAGE = diffusion.Stage(frames=4, shapes=((4, 2),), P_mean=0.0, P_std=1.0, still=0.0, drop_token=0.0)


class PerfectUNet:
    """Knows z, so that D(x; sigma) = z: what the loss must call perfect."""

    def __init__(self, z):
        self.z = z

    def __call__(self, x, c_noise, context, y, **_):
        sigma = torch.exp(4 * c_noise).view(-1, 1, 1, 1)
        noisy = x[:, :4] * (sigma**2 + 1).sqrt()
        return (self.z - noisy / (sigma**2 + 1)) / (-sigma / (sigma**2 + 1).sqrt())


def test_loss_is_zero_for_the_perfect_denoiser(stills):
    loss = diffusion.DiffusionLoss(stills, STAGE, pooled)
    z = diffusion.draw_batch(np.random.default_rng(7), stills, STAGE, pooled).z
    value, _ = loss(PerfectUNet(z), np.random.default_rng(7), 0)
    assert float(value.detach()) < 1e-8  # float32 rounding


def test_loss_of_an_unknowing_network_is_that_of_unit_variance(stills):
    def zero(x, *_, **__):
        return torch.zeros_like(x[:, :4])

    stage = replace(STAGE, shapes=((4, 64),))
    loss = diffusion.DiffusionLoss(stills, stage, pooled)
    value, _ = loss(zero, np.random.default_rng(1), 0)
    z = diffusion.draw_batch(np.random.default_rng(1), stills, stage, pooled).z
    # the target is noise of variance 1 at low levels and the latents at high ones
    assert min(float(z.square().mean()), 1) - 0.05 < float(value) < max(float(z.square().mean()), 1) + 0.05


def test_batch_tells_the_speed_of_its_films_and_holds_their_first_windows(stills, monkeypatch):
    asked, views = [], diffusion.views
    monkeypatch.setattr(diffusion, "views", lambda *a, **kw: asked.append(kw["speed"]) or views(*a, **kw))
    stage = replace(STAGE, shapes=((4, 6),))
    batch = diffusion.draw_batch(np.random.default_rng(2), stills, stage, pooled)
    assert batch.z.shape == (24, 4, 4, 4)
    assert batch.vector.shape == (6, 768)
    # the condition is that window's own pixels, encoded with noise of about 0.03;
    # the film's is cut from the latents
    assert (batch.concat * SCALE - batch.z[::4]).abs().mean() < 0.05
    for speed, row in zip(asked, batch.vector):
        told = [
            micro_conditions(
                1, fps=fps, motion_bucket_id=motion_bucket(speed, fps=fps), augmentation_level=0
            )[0]
            for fps in range(5, 31)
        ]
        assert min(float((row - t)[:512].abs().max()) for t in told) < 1e-3


def test_film_that_stands_repeats_its_first_frame_and_is_told_bucket_0(stills):
    batch = diffusion.draw_batch(np.random.default_rng(3), stills, replace(STAGE, still=1.0), pooled)
    z = batch.z.unflatten(0, (2, 4))
    assert_close(z, z[:, :1].expand_as(z), rtol=0, atol=1e-6)
    still = micro_conditions(1, fps=7, motion_bucket_id=0, augmentation_level=0)[0]
    assert torch.equal(batch.vector[0, 256:512], still[256:512])


def test_token_can_be_dropped(stills):
    seen = []

    def watch(x, c_noise, context, y, **_):
        seen.append(float(context.abs().sum()))
        return x[:, :4]

    for drop in (0.0, 1.0):
        stage = replace(STAGE, drop_token=drop)
        diffusion.DiffusionLoss(stills, stage, pooled)(watch, np.random.default_rng(0), 0)
    assert seen == [2 * 4 * 12, 0]


def test_noise_levels_of_a_batch_are_spread_evenly():
    stage = replace(STAGE, P_mean=0.5, P_std=2.0)
    for seed in range(5):
        levels = diffusion.draw_noise_levels(np.random.default_rng(seed), stage, 8)
        quantiles = torch.special.ndtr((levels - 0.5) / 2.0).sort().values
        assert_close(quantiles.diff(), torch.full((7,), 1 / 8, dtype=levels.dtype), rtol=0, atol=1e-4)


def test_steps_go_round_the_shapes(stills):
    stage = replace(STAGE, shapes=((6, 1), (4, 3)))
    found = [
        diffusion.draw_batch(np.random.default_rng(0), stills, stage, pooled, step=s).z.shape
        for s in range(3)
    ]
    assert found == [(4, 4, 6, 6), (12, 4, 4, 4), (4, 4, 6, 6)]


def test_footage_is_what_the_autoencoder_and_the_tower_make_of_the_pictures(tmp_path, networks, monkeypatch):
    _, vae, clip = networks
    pictures = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    monkeypatch.setattr(footage.library, "stills", lambda size, judging: ([], pictures))
    with pytest.raises(ValueError, match="run the command 'footage' first"):
        footage.load(tmp_path)
    footage.build(tmp_path, vae, clip)
    found = footage.load(tmp_path)
    assert_close(found.z, vae.encode(to_tensor(pictures)) * SCALE)
    assert found.tokens.shape == (2, 12)
    assert_close(found.crop(1, (8, 16), 32), to_tensor(pictures)[1, :, 8:40, 16:48])


def test_moved_latents_of_8x8_means_are_those_of_the_moved_picture():
    smooth = F.interpolate(
        torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0)), size=96, mode="bicubic"
    )
    shift = torch.tensor([[[1.0, 0, 16 / 64], [0, 1, 0]]]).expand(2, 2, 3)  # of a window of 64: 8 pixels
    window, moved = smooth[..., 16:80, 16:80], smooth[..., 16:80, 24:88]
    assert_close(autoencoder.move(smooth, shift, size=64), moved, rtol=0, atol=1e-4)
    inside = autoencoder.known(shift, 8)
    assert inside[:, 0, 1:-1, 1:-2].all()
    assert inside[..., -1].sum() == 0  # the last column comes from outside of the window
    error = (autoencoder.move(pooled(window), shift) - pooled(moved)) * inside
    assert error.abs().max() < 1e-3


def test_guide_separates_the_two_colour_axes():
    pictures = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    guide = autoencoder.Guide(pictures)
    z = guide(to_tensor(pictures)) * SCALE
    assert_close(z.std((0, 2, 3)), torch.tensor(autoencoder.DEVIATIONS), rtol=1e-3, atol=0)
    grey = torch.full((1, 3, 8, 8), 0.3)
    green = grey + autoencoder.CHROMA[1].view(1, 3, 1, 1) * 0.2
    change = (guide(green) - guide(grey))[0, :, 0, 0]
    assert change[3] > 0
    assert change[:3].abs().max() < 0.1 * change[3]  # the axes are nearly at right angles


def test_image_loss_reports_equivariance_when_it_moves(networks):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), dtype=np.uint8)
    loss = autoencoder.ImageLoss(pictures, sizes=(32,), pixels=2048, guided_steps=10)
    vae = VAE(replace(VAE_CONFIG, temporal=False))
    loss.crops = lambda rng, n, size: to_tensor(
        pictures[:n]
    )  # without photographs, which may not be installed
    facts = [loss(vae, np.random.default_rng(seed), 0) for seed in range(6)]
    assert all(value.isfinite() for value, _ in facts)
    assert {f["equivariance"] > 0 for _, f in facts} == {True, False}


def test_only_temporal_layers_learn_in_the_temporal_stage(networks):
    vae = networks[1]
    autoencoder.freeze_space(vae)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    loss = autoencoder.TemporalLoss(pictures, batch=2, frames=3, size=16)
    value, facts = loss(vae, np.random.default_rng(0), 0)
    value.backward()
    assert facts["flicker"] > 0
    learning = {name for name, p in vae.named_parameters() if p.grad is not None}
    assert learning
    assert all("time_stack" in n or "mix_factor" in n or "time_mix_conv" in n for n in learning)


def test_the_decoder_learns_from_pictures_and_films_and_latents_stay(networks):
    vae, pictures = networks[1], np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), dtype=np.uint8)
    autoencoder.freeze_encoder(vae)
    images = autoencoder.ImageLoss(pictures, sizes=(32,), pixels=1024, guided_steps=1)
    images.crops = lambda rng, n, size: to_tensor(pictures[:n])  # as above
    films = autoencoder.TemporalLoss(pictures, batch=1, frames=3, size=16)
    loss, parameters = autoencoder.DecoderLoss(images, films), dict(vae.named_parameters())
    for step in range(1, 4):
        value, _ = loss(vae, np.random.default_rng(step), step)
        assert torch.equal(value, (films if step == 2 else images)(vae, np.random.default_rng(step), step)[0])
        value.backward()
        learning = {name for name, p in parameters.items() if p.grad is not None}
        assert learning
        assert all(".decoder." in name for name in learning)


def test_a_zooms_lora_is_what_comes_nearest_to_the_networks_change(networks):
    """A change of rank 2 of every matrix is within reach of it, to rounding; a bias is not in a LoRA."""
    unet, changed = VideoUNet(networks[0].config), {}
    g = torch.Generator().manual_seed(0)
    for name, weight in unet.state_dict().items():
        low = torch.randn(len(weight.flatten(1)), 2, generator=g) if weight.ndim > 1 else None
        added = 0 if low is None else low @ torch.randn(2, weight[0].numel(), generator=g)
        changed[name] = weight + 0.01 * (added if low is None else added.view_as(weight))
    before = {name: t.clone() for name, t in unet.state_dict().items()}
    factors = stages.nearest("in", unet, changed)
    names = {name.rpartition(".")[0] for name in factors}
    assert len(names) > 20
    for name in names:
        up, down = factors[f"{name}.up"], factors[f"{name}.down"]
        found = (up.flatten(1) @ down.flatten(1)).view_as(before[f"{name}.weight"])
        assert_close(found, changed[f"{name}.weight"] - before[f"{name}.weight"], rtol=0, atol=1e-5)


def test_later_run_overrides_what_it_trained_and_unknown_parts_are_left_out(tmp_path):
    model = torch.nn.Linear(2, 2)
    shipped = {"weight": torch.zeros(2, 2), "bias": torch.ones(2), "attention": torch.zeros(1)}
    for name, value in (("camera", 3.0), ("finish", 4.0)):
        stages.state.save(tmp_path / f"{name}.safetensors", {"ema.weight": torch.full((2, 2), value)}, {})
    for run, wanted in (("camera", 0.0), ("finish", 3.0), (None, 4.0)):
        stages.overlay(model, shipped, tmp_path, stages.before(run, stages.UNET_STAGES))
        assert (model.weight == wanted).all()
        assert (model.bias == 1).all()


def test_written_file_loads_by_the_ordinary_path(tmp_path, networks):
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


def test_rgb_factors_recover_a_linear_code():
    class Linear:
        def encode(self, x):
            return pooled(x)

    pictures = (
        np.random.default_rng(0).integers(0, 256, (12, 4, 4, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    )
    factors = torch.tensor(export.rgb_factors(Linear(), pictures, count=8))
    assert_close(factors[1:3], torch.tensor([[0, 1.0, 0], [0, 0, 1.0]]), rtol=0, atol=1e-3)
    assert_close(factors[0] + factors[3], torch.tensor([1.0, 0, 0]), rtol=0, atol=1e-3)
