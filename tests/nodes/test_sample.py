"""Sampling in the host: the native graph's result, guidance on a clone, noise, seeds, progress and cancel."""

import pytest
import torch

assert_close = torch.testing.assert_close


@pytest.fixture(scope="module")
def conditioning(ours, photo, describe):
    return [item[0] for item in describe(ours, photo)]


def native_video(host, model, conditioning, **changes):
    positive, negative, latent = conditioning
    given = dict(seed=3, steps=3, cfg=2.5, sampler_name="euler", scheduler="karras", denoise=1.0)
    (out,) = host.run(
        "KSampler",
        model=model,
        positive=positive,
        negative=negative,
        latent_image=latent,
        **{**given, **changes},
    )
    return out["samples"]


def test_native_graph_on_our_model_equals_native_graph_on_the_hosts(host, ours, native, conditioning, error):
    ours_out, native_out = (
        native_video(host, host.run("VideoLinearCFGGuidance", model=model, min_cfg=1.0)[0], conditioning)
        for model in (ours.model, native.model)
    )
    assert error(ours_out, native_out) < 1e-4  # float32 rounding through three steps from sigma 700


def test_simple_road_equals_the_native_graph(host, ours, native, photo, describe, video, error):
    conditioning = [item[0] for item in describe(ours, photo, compatibility="native", augmentation_level=0.0)]
    given = dict(width=64, height=64, motion_bucket_id=127, fps=7, augmentation_level=0.0)
    native_conditioning = host.run(
        "SVD_img2vid_Conditioning",
        clip_vision=native.clip_vision,
        init_image=photo,
        vae=native.vae,
        video_frames=4,
        **given,
    )
    (patched,) = host.run("VideoLinearCFGGuidance", model=native.model, min_cfg=1.0)
    wanted = native_video(host, patched, native_conditioning)
    found = video(ours, photo, conditioning=conditioning)
    assert error(found, wanted) < 1e-4
    frames = host.run("PureSVDDecode", vae=ours.vae, samples={"samples": found}, memory=0.0)[0]
    native_frames = host.run("VAEDecode", vae=native.vae, samples={"samples": wanted})[0]
    assert error(frames, native_frames) < 1e-4


@pytest.mark.parametrize("curve", ["linear", "triangle"])
def test_curves_equal_the_native_guidance_nodes(host, ours, photo, conditioning, video, error, curve):
    node = {"linear": "VideoLinearCFGGuidance", "triangle": "VideoTriangleCFGGuidance"}[curve]
    (patched,) = host.run(node, model=ours.model, min_cfg=1.0)
    wanted = native_video(host, patched, conditioning)
    assert error(video(ours, photo, conditioning=conditioning, curve=curve), wanted) < 1e-5


def test_constant_curve_is_plain_guidance(host, ours, photo, conditioning, video, error):
    found = video(ours, photo, conditioning=conditioning, curve="constant")
    assert error(found, native_video(host, ours.model, conditioning)) < 1e-5


def test_guidance_patched_onto_the_model_is_replaced_on_a_clone(host, ours, photo, conditioning, video):
    (patched,) = host.run("VideoLinearCFGGuidance", model=ours.model, min_cfg=20.0)
    before = dict(patched.model_options)
    found = video(ours, photo, model=patched, conditioning=conditioning)
    assert torch.equal(found, video(ours, photo, conditioning=conditioning))
    assert patched.model_options == before


def test_guidance_of_one_skips_the_second_pass(ours, photo, conditioning, video):
    rows = []
    model = ours.model.clone()
    model.set_model_unet_function_wrapper(
        lambda run, args: rows.append(len(args["input"])) or run(args["input"], args["timestep"], **args["c"])
    )
    video(ours, photo, model=model, conditioning=conditioning, min_cfg=1.0, max_cfg=1.0, steps=1)
    assert rows == [4]


def test_guider_and_noise_levels_feed_the_custom_sampler(host, ours, photo, conditioning, video):
    positive, negative, latent = conditioning
    (guider,) = host.run(
        "PureSVDGuider",
        model=ours.model,
        positive=positive,
        negative=negative,
        min_cfg=1.0,
        max_cfg=2.5,
        curve="linear",
    )
    (sigmas,) = host.run(
        "PureSVDSigmas", schedule="karras", steps=3, sigma_max=700.0, sigma_min=0.002, rho=7.0, denoise=1.0
    )
    (noise,) = host.run("RandomNoise", noise_seed=3)
    (sampler,) = host.run("KSamplerSelect", sampler_name="euler")
    out, _ = host.run(
        "SamplerCustomAdvanced",
        noise=noise,
        guider=guider,
        sampler=sampler,
        sigmas=sigmas,
        latent_image=latent,
    )
    assert_close(out["samples"], video(ours, photo, conditioning=conditioning), rtol=1e-5, atol=1e-5)


def test_noise_is_the_hosts_and_its_global_state_untouched(host, ours, photo, conditioning, video):
    import comfy.sample

    latent = {"samples": torch.zeros(3, 4, 5, 6), "batch_index": [2, 0, 2]}
    wanted = comfy.sample.prepare_noise(latent["samples"], 11, latent["batch_index"])
    state = torch.get_rng_state()
    assert torch.equal(host.pack("nodes.host.guider").noise_like(latent, 11), wanted)
    video(ours, photo, conditioning=conditioning, steps=1)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m", "euler_ancestral", "lcm"])
def test_same_seed_gives_the_same_bytes(ours, photo, conditioning, video, sampler):
    first, again, other = (
        video(ours, photo, conditioning=conditioning, sampler=sampler, seed=seed) for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.isfinite().all()


@pytest.mark.parametrize("schedule", ["karras", "ays", "exponential", "consistency"])
def test_noise_levels_fall_to_zero(host, schedule):
    levels = host.pack("nodes.widgets").noise_levels(schedule, 7)
    assert len(levels) == 8
    assert levels[-1] == 0
    assert (levels[1:] < levels[:-1]).all()
    assert_close(levels[0], torch.tensor(700.0))


def test_karras_levels_are_the_hosts(host, ours):
    (wanted,) = host.run("BasicScheduler", model=ours.model, scheduler="karras", steps=10, denoise=0.5)
    found = host.pack("nodes.widgets").noise_levels("karras", 10, denoise=0.5)
    assert_close(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sigma_min": 800.0}, "sigma_min 800"),
        ({"sigma_min": 0.0}, "sigma_min 0"),
        ({"sigma_max": float("nan")}, "sigma_max is nan"),
        ({"sigma_max": 7132.0, "sigma_min": 1.0, "rho": 0.1}, "that overflow; use a larger rho"),
        ({"rho": float("inf")}, "rho is inf"),
        ({"denoise": 0.0}, "denoise 0"),
        ({"denoise": 2.0}, "denoise 2"),
    ],
)
def test_absurd_noise_levels_get_one_sentence(host, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        host.pack("nodes.widgets").noise_levels("karras", 5, **changes)


@pytest.mark.parametrize(
    ("steps", "denoise", "sentence"),
    [
        (
            25,
            0.5,
            (
                "steps 25 with denoise 0.5 .* 50 steps, consistency has 40; use at most 20 steps or a denoise"
                " .* 0.63$"
            ),
        ),
        (60, 0.9, "steps 60 .* use at most 36 steps$"),
        (1, 0.01, "steps 1 with denoise 0.01 .* use a denoise of at least 0.03$"),
        (41, 1.0, "41 steps do not fit the 40 levels"),
    ],
)
def test_too_many_consistency_steps_are_told_in_the_users_numbers(host, steps, denoise, sentence):
    levels = host.pack("nodes.widgets").noise_levels
    with pytest.raises(ValueError, match=sentence):
        levels("consistency", steps, denoise=denoise)
    for remedy in (
        {"steps": 20, "denoise": 0.5},
        {"steps": 25, "denoise": 0.63},
        {"steps": 1, "denoise": 0.03},
    ):
        assert len(levels("consistency", **remedy)) == remedy["steps"] + 1


@pytest.mark.parametrize("shape", [(4, 16, 8, 8), (1, 4, 3, 8, 8), (0, 4, 8, 8)])
def test_latents_of_other_models_are_refused(ours, photo, conditioning, video, shape):
    positive, negative, _ = conditioning
    with pytest.raises(ValueError, match="a Stable Video Diffusion latent is"):
        video(ours, photo, conditioning=(positive, negative, {"samples": torch.zeros(shape)}))


@pytest.mark.parametrize("name", ["min_cfg", "max_cfg"])
def test_guidance_of_no_number_is_refused(ours, photo, conditioning, video, name):
    with pytest.raises(ValueError, match=f"{name} is nan"):
        video(ours, photo, conditioning=conditioning, **{name: float("nan")})


def test_one_frame_works(ours, photo, describe, video):
    conditioning = [item[0] for item in describe(ours, photo, frames=1)]
    for curve in ("linear", "triangle", "constant"):
        out = video(ours, photo, conditioning=conditioning, curve=curve)
        assert out.shape == (1, 4, 8, 8)
        assert out.isfinite().all()


def test_cancel_stops_between_steps(ours, photo, conditioning, video):
    import comfy.model_management as mm

    model, calls = ours.model.clone(), []

    def cancel_after_two(run, args):
        calls.append(1)
        if len(calls) == 2:
            mm.interrupt_current_processing()
        return run(args["input"], args["timestep"], **args["c"])

    model.set_model_unet_function_wrapper(cancel_after_two)
    with pytest.raises(mm.InterruptProcessingException):
        video(ours, photo, model=model, conditioning=conditioning, steps=9)
    assert len(calls) == 2


def test_progress_counts_every_step(ours, photo, conditioning, video, monkeypatch):
    import comfy.utils

    seen = []
    monkeypatch.setattr(
        comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, preview, **_: seen.append((value, total))
    )
    video(ours, photo, conditioning=conditioning, steps=3)
    assert seen[-1] == (3, 3)


def test_models_of_other_kinds_are_refused(photo, ours, conditioning, video):
    import comfy.model_patcher

    cpu = torch.device("cpu")
    other = comfy.model_patcher.ModelPatcher(torch.nn.Identity(), cpu, cpu)
    with pytest.raises(ValueError, match="this MODEL is Identity, not Stable Video Diffusion; wire in"):
        video(ours, photo, model=other, conditioning=conditioning)


def test_latent_of_quite_another_shape_than_the_photo_is_refused(ours, photo, conditioning, video):
    positive, negative, _ = conditioning
    strip = {"samples": torch.zeros(1, 4, 1, 1024)}
    with pytest.raises(
        ValueError, match="described for 64x64 pixels, the latent is 8192x8; use the latent of the same"
    ):
        video(ours, photo, conditioning=(positive, negative, strip))


@pytest.mark.parametrize(
    "photo", [[], "text", torch.zeros(1, 3, 8, 8), torch.zeros(4, 8, 8), torch.zeros(1, 4, 0, 8)], ids=repr
)
def test_conditioning_of_another_kind_is_refused(host, ours, photo):
    described = [[torch.zeros(1, 1, 16), {"concat_latent_image": photo}]]
    with pytest.raises(ValueError, match="positive is not conditioning for a video model; wire in"):
        host.run(
            "PureSVDGuider",
            model=ours.model,
            positive=described,
            negative=described,
            min_cfg=1.0,
            max_cfg=2.5,
            curve="linear",
        )
