"""Preconditioning, guidance and conditioning: closed forms, and a guided loop against diffusers."""

import pytest
import torch
from diffusers import EulerDiscreteScheduler

from svd_core.conditioning.conditioning import Conditioning, embed, micro_conditions
from svd_core.conditioning.encode import augment, encode
from svd_core.models.image_encoder import preprocess
from svd_core.sampling import guidance, noise_levels, samplers
from svd_core.sampling.denoiser import denoiser, scalings

from . import references
from .references import relative_error

T = 3


def conditioning(b=1, h=8, w=8):
    g = torch.Generator().manual_seed(11)
    context = torch.randn(b, 1, references.UNET.context_dim, generator=g)
    concat = torch.randn(b, 4, h, w, generator=g)
    return Conditioning(context, concat, embed(torch.tensor([[6.0, 127.0, 0.02]])).expand(b, -1))


def noise(n=T, h=8, w=8):
    return torch.randn(n, 4, h, w, generator=torch.Generator().manual_seed(12))


def test_scalings_keep_unit_variance():
    """EDM, table 1: c_in normalises the input; c_out² + c_skip² (1 + sigma²) = 1 is SVD's v-prediction."""
    sigma = noise_levels.karras(9)[:-1].double()
    c_skip, c_out, c_in, c_noise = (c.double() for c in scalings(sigma))
    torch.testing.assert_close(
        c_in**2 * (1 + sigma**2), torch.ones(9, dtype=torch.float64), rtol=1e-5, atol=0
    )
    torch.testing.assert_close(
        c_out**2 + c_skip**2 * (1 + sigma**2), torch.ones(9, dtype=torch.float64), rtol=1e-5, atol=0
    )
    torch.testing.assert_close(c_noise, sigma.log() / 4, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("curve", "expected"),
    [("linear", [1.0, 1.5, 2.0, 2.5, 3.0]), ("triangle", [1.0, 2.0, 3.0, 2.0, 1.0]), ("constant", [3.0] * 5)],
)
def test_guidance_curves(curve, expected):
    torch.testing.assert_close(guidance.CURVES[curve](1.0, 3.0, 5), torch.tensor(expected))


@pytest.mark.parametrize(("curve", "expected"), [("linear", 1.0), ("triangle", 1.0), ("constant", 3.0)])
def test_guidance_of_a_single_frame(curve, expected):
    assert guidance.CURVES[curve](1.0, 3.0, 1).tolist() == [expected]


def test_triangle_of_sv3d_rises_by_a_fixed_step():
    curve = guidance.triangle(1.0, 2.5, 21)
    assert (curve[0], curve[10], curve[20]) == (1.0, 2.5, 1.0)
    torch.testing.assert_close(curve[:11].diff(), torch.full((10,), 0.15))


@torch.no_grad()
def test_batched_guidance_equals_two_passes():
    unet, x, scale = references.unet(references.SMALL), noise() * 10, guidance.linear(1.0, 2.5, T)
    one, two = (
        guidance.guided(unet, conditioning(), scale, batched=b)(x, torch.tensor(10.0)) for b in (True, False)
    )
    assert relative_error(one, two) <= 1e-5


@torch.no_grad()
def test_guided_euler_loop_equals_diffusers():
    """Six Karras steps from 700, cond and uncond in one batch; the network's errors add up over them."""
    unet, cond, scale = references.unet(), conditioning(), guidance.linear(1.0, 3.0, T)
    sigmas = noise_levels.karras(6)
    ours = samplers.euler(guidance.guided(unet, cond, scale), samplers.initial(noise(), sigmas[0]), sigmas)

    theirs = references.diffusers_unet(unet)
    scheduler = EulerDiscreteScheduler(
        prediction_type="v_prediction",
        timestep_type="continuous",
        timestep_spacing="leading",
        use_karras_sigmas=True,
        sigma_min=0.002,
        sigma_max=700.0,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        interpolation_type="linear",
        steps_offset=1,
    )
    scheduler.set_timesteps(6)
    x = noise()[None] * scheduler.init_noise_sigma
    both = [torch.cat([torch.zeros_like(v), v]) for v in (cond.context, cond.concat)]
    image = both[1][:, None].expand(-1, T, -1, -1, -1)
    ids = torch.tensor([[6.0, 127.0, 0.02]] * 2)
    for step in scheduler.timesteps:
        x_in = torch.cat([scheduler.scale_model_input(torch.cat([x, x]), step), image], dim=2)
        uncond, v = theirs(x_in, step, both[0], ids).sample.chunk(2)
        x = scheduler.step(uncond + scale.view(1, -1, 1, 1, 1) * (v - uncond), step, x).prev_sample
    assert relative_error(ours, x[0]) <= 1e-4


@torch.no_grad()
def test_vector_may_have_a_row_for_each_frame():
    unet, cond, sigma = references.unet(references.SMALL), conditioning(b=2), torch.tensor(3.0)
    per_frame = Conditioning(cond.context, cond.concat, cond.vector.repeat_interleave(T, 0))
    assert torch.equal(
        denoiser(unet, per_frame, t=T)(noise(2 * T), sigma), denoiser(unet, cond, t=T)(noise(2 * T), sigma)
    )


@torch.no_grad()
def test_encode_shows_the_clean_photo_to_one_encoder_and_the_noisy_one_to_the_other():
    clip, vae = references.clip(), references.vae()
    image = torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    context, concat = encode(
        clip,
        vae.encode,
        image,
        image_size=clip.config.image_size,
        augmentation_level=0.02,
        generator=torch.Generator().manual_seed(5),
    )
    noisy = image + 0.02 * torch.randn(image.shape, generator=torch.Generator().manual_seed(5))
    assert torch.equal(concat, vae.encode(noisy))
    assert torch.equal(context[:, 0], clip(preprocess(image, clip.config.image_size)))


def test_encode_keeps_the_format_of_the_photo_and_the_size_of_the_released_tower():
    seen = []

    def record(x):
        seen.append((x.dtype, tuple(x.shape)))
        return x.flatten(1)[:, :3]

    image = torch.zeros(2, 3, 16, 24, dtype=torch.bfloat16)
    context, _ = encode(record, record, image, augmentation_level=0.1, generator=torch.Generator())
    assert context.shape == (2, 1, 3)
    assert seen == [(torch.float32, (2, 3, 224, 224)), (torch.bfloat16, (2, 3, 16, 24))]


def test_micro_conditions_are_the_references_sinusoids():
    vector = micro_conditions(2, fps=7, motion_bucket_id=127, augmentation_level=0.02)
    angle = torch.tensor([6.0, 127.0, 0.02])  # fps_id = fps - 1; frequency 1 is each sinusoid's first
    assert vector.shape == (2, 768)
    torch.testing.assert_close(vector[1].view(3, 256)[:, 0], angle.cos())
    torch.testing.assert_close(vector[1].view(3, 256)[:, 128], angle.sin())


def test_unconditional_counterpart_lacks_the_photo_alone():
    uncond = conditioning().uncond()
    assert not uncond.context.any()
    assert not uncond.concat.any()
    assert torch.equal(uncond.vector, conditioning().vector)


def test_augmentation_has_the_stated_level_and_no_global_state():
    state = torch.get_rng_state()
    image = torch.zeros(1, 3, 256, 256)
    assert augment(image, 0.5, torch.Generator().manual_seed(1)).std().item() == pytest.approx(
        0.5, rel=0.01
    )  # 0.2 % s.e.
    assert torch.equal(torch.get_rng_state(), state)
