"""Between Pictures in the host: parity with its samplers, calls, ends, loops, chains, refusals."""

import json

import pytest
import torch

assert_close = torch.testing.assert_close
T = 4
GIVEN = {
    "width": 64,
    "height": 64,
    "frames": T,
    "seed": 3,
    "steps": 3,
    "schedule": "karras",
    "method": "vibid",
    "guidance": 1.0,
    "min_cfg": 1.0,
    "max_cfg": 3.0,
    "motion_prior": 0.2,
    "motion_prior_repeats": 3,
    "motion_prior_strength": 1.0,
    "reinjection": 0,
    "reinjection_length": 0,
    "reinjection_until": 0.8,
    "pin": "both",
    "pin_below": 0.0,
    "motion_bucket_id": 127,
    "fps": 7,
    "augmentation_level": 0.02,
    "fit": "crop",
}


@pytest.fixture(scope="module")
def between(host, ours, photo):
    """between(**changes) -> z, the report's JSON"""

    def run(start=photo, end=None, model=None, **changes):
        given = {"start_image": start, "end_image": 1 - photo if end is None else end, **GIVEN, **changes}
        if given["end_image"] is False:
            del given["end_image"]
        trio = dict(model=model or ours.model, clip_vision=ours.clip_vision, vae=ours.vae)
        latent, report = host.run("PureSVDBetween", **trio, **given)
        return latent["samples"], json.loads(report.splitlines()[-1])

    return run


def counting(model):
    """A clone of the model, and the rows of each of its calls."""
    rows, clone = [], model.clone()
    clone.set_model_unet_function_wrapper(
        lambda run, args: rows.append(len(args["input"])) or run(args["input"], args["timestep"], **args["c"])
    )
    return clone, rows


def test_half_step_is_the_hosts_own_cfg_plus_plus(host, ours, photo, describe, between, error):
    """The forward pass alone, no pins, no prior, is the host's euler_cfg_pp under the host's guider."""
    positive, negative, latent = (item[0] for item in describe(ours, photo, seed=3)[:3])
    w = 0.5
    (guider,) = host.run("CFGGuider", model=ours.model, positive=positive, negative=negative, cfg=w * 2.5)
    (sampler,) = host.run("KSamplerSelect", sampler_name="euler_cfg_pp")
    (noise,) = host.run("RandomNoise", noise_seed=3)
    sigmas = host.pack("nodes.widgets").noise_levels("karras", 3)
    wanted, _ = host.run(
        "SamplerCustomAdvanced",
        noise=noise,
        guider=guider,
        sampler=sampler,
        sigmas=sigmas,
        latent_image=latent,
    )
    found, _ = between(method="forward", pin="none", motion_prior=0.0, guidance=w)
    assert error(found, wanted["samples"]) < 1e-5  # float32 rounding: the host steps from sigma to sigma_down


def test_without_guidance_the_forward_pass_is_sample_video(ours, photo, describe, between, video, error):
    conditioning = [item[0] for item in describe(ours, photo, seed=3)[:3]]
    wanted = video(ours, photo, conditioning=conditioning, curve="constant", min_cfg=1.0, max_cfg=1.0)
    found, _ = between(method="forward", pin="none", motion_prior=0.0, guidance=0.0)
    assert error(found, wanted) < 1e-5


@pytest.mark.parametrize(
    ("changes", "evaluations"),
    [
        ({}, 2 * (6 + 3)),  # one of three steps lies in the first fifth
        ({"guidance": 0.0}, 6 + 3),
        ({"motion_prior": 0.0}, 12),
        ({"method": "trf"}, 12),
        ({"method": "trf", "max_cfg": 1.0}, 6),
        ({"method": "forward"}, 6),
        (
            {"method": "forward", "reinjection": 2, "reinjection_length": 1, "reinjection_until": 0.5},
            2 * (3 + 2),
        ),
    ],
)
def test_evaluations_are_counted_as_made(ours, between, changes, evaluations):
    model, rows = counting(ours.model)
    z, report = between(model=model, **changes)
    assert z.isfinite().all()
    assert sum(rows) == T * evaluations
    assert report["clips"][0]["evaluations"] == evaluations


def test_checkpoint_trained_without_guidance_gets_none(ours, between):
    model, rows = counting(ours.model)
    vae_preset = ours.vae.preset
    try:
        ours.vae.preset = type(vae_preset)(**{**vae_preset.__dict__, "max_cfg": 1.0})
        for method in ("vibid", "trf", "forward"):
            between(model=model, method=method, motion_prior=0.0)
    finally:
        ours.vae.preset = vae_preset
    assert sum(rows) == T * (6 + 6 + 3)


@pytest.mark.parametrize("method", ["vibid", "trf", "forward"])
def test_both_ends_are_the_pictures(ours, photo, between, method):
    start = photo[:, :64, :64]
    z, report = between(start, start.flip(2), method=method)
    assert_close(z[:1], ours.vae.encode(start), rtol=1e-5, atol=1e-5)
    assert_close(z[-1:], ours.vae.encode(start.flip(2)), rtol=1e-5, atol=1e-5)
    assert report["clips"][0]["first_error"] < 1e-6
    assert report["clips"][0]["last_error"] < 1e-6


def test_backward_pass_sees_the_last_picture_in_its_own_time(host, photo, between, error, monkeypatch):
    """TRF from A to B backwards is TRF from B to A where the noise is its own mirror image."""
    guider = host.pack("nodes.host.guider")
    noise = guider.noise_like

    def mirrored(latent, seed):
        drawn = noise(latent, seed)
        return drawn + drawn.flip(0)

    monkeypatch.setattr(guider, "noise_like", mirrored)
    ahead, _ = between(photo, 1 - photo, method="trf", pin="none")
    back, _ = between(1 - photo, photo, method="trf", pin="none")
    assert error(ahead, back.flip(0)) < 1e-5
    assert error(ahead, back) > 0.1


def test_without_an_end_picture_it_is_a_loop(photo, between):
    z, report = between(end=False)
    closed, _ = between(end=photo)
    assert len(z) == T - 1
    assert report["loop"]
    assert torch.equal(z, closed), "one picture at both ends is the same loop"


def test_report_says_whether_it_moves_and_how_the_seam_runs(host, ours, photo, between):
    z, report = between(end=False)
    assert set(report["motion"]) == {"speed", "explained", "counts"}
    assert set(report["seam"]) == {"position", "velocity", "there_and_back"}
    assert between(end=1 - photo)[1]["seam"] is None
    whole = host.run(
        "PureSVDMeasure",
        images=host.pack("nodes.host.seam").pictures(ours.model, z).movedim(1, -1),
        fps=7.0,
        loop=True,
    )
    assert json.loads(whole[1])["loop"]["position"] == pytest.approx(report["seam"]["position"], rel=1e-4)


def test_still_is_not_a_success(host, ours, photo, between, monkeypatch):
    two_frames = host.pack("nodes.host.two_frames")
    monkeypatch.setattr(two_frames, "clip_between", lambda model, a, *_, **__: a.z.repeat(T, 1, 1, 1))
    _, report = between(end=False)
    assert report["warnings"][0].startswith("this loop is nearly a still")


@pytest.mark.parametrize(("looped", "jumps"), [(False, 2), (True, 1)])
def test_clip_that_stands_and_jumps_to_its_last_picture_is_told(
    host, photo, between, monkeypatch, looped, jumps
):
    """But for a loop's last step, which belongs to its seam."""

    def late(model, a, b, *_, **__):
        slow = torch.linspace(0, 0.3, T - 1).view(-1, 1, 1, 1)
        return torch.cat([torch.lerp(a.z, b.z, slow), b.z])

    monkeypatch.setattr(host.pack("nodes.host.two_frames"), "clip_between", late)
    pictures = torch.cat([photo, 1 - photo])
    _, report = between(pictures, False if looped else photo)
    assert len([told for told in report["warnings"] if "jumps to its last picture, 4.7" in told]) == jumps


@pytest.mark.parametrize("method", ["vibid", "trf", "forward"])
def test_seam_repair_samples_the_seam_anew_or_leaves_the_loop(ours, photo, between, method):
    model, rows = counting(ours.model)
    plain, _ = between(end=False, model=model, method=method, guidance=0.0, max_cfg=1.0)
    made = len(rows)
    z, report = between(end=False, model=model, method=method, guidance=0.0, max_cfg=1.0, loop_repair=3.0)
    assert len(rows) - 2 * made == (1 if method == "forward" else 2) * 2, "one of three levels lies below 3"
    assert z.shape == plain.shape
    assert report["repair"]["kept"] or torch.equal(z, plain)


def test_several_pictures_are_passed_one_after_the_other(photo, between):
    z, report = between(torch.cat([photo, 1 - photo, photo.flip(1)]), photo / 2)
    assert len(z) == 3 * (T - 1) + 1
    assert len(report["clips"]) == 3
    first, _ = between(photo, 1 - photo)
    assert torch.equal(z[:T], first)
    around, _ = between(torch.cat([photo, 1 - photo]), False)
    assert len(around) == 2 * (T - 1)


def test_same_seed_same_bytes_and_the_global_state_untouched(between):
    state = torch.get_rng_state()
    first, again, other = (between(seed=seed)[0] for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("method", ["vibid", "trf", "forward"])
def test_preview_shows_true_time_and_the_bar_counts_all_clips(photo, between, monkeypatch, method):
    import comfy.utils
    import latent_preview

    shown, bar = [], []
    prepare = latent_preview.prepare_callback

    def spy(model, steps, *rest):
        callback = prepare(model, steps, *rest)
        return lambda step, x0, x, total: shown.append(x0.clone()) or callback(step, x0, x, total)

    monkeypatch.setattr(latent_preview, "prepare_callback", spy)
    monkeypatch.setattr(
        comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, *_, **__: bar.append((value, total))
    )
    z, _ = between(torch.cat([photo, 1 - photo]), photo, method=method, motion_prior=0.0)
    assert bar[-1] == (6, 6)
    assert_close(shown[-1][1:-1] / 0.18215, z[T:-1], rtol=1e-3, atol=1e-3)  # the ends are pinned afterwards


def test_cancel_stops_inside_a_step_and_says_so(host, ours, between, monkeypatch):
    import comfy.model_management as mm

    model, calls, told = ours.model.clone(), [], []
    monkeypatch.setattr(host.pack("nodes.host.course"), "show", told.append)

    def cancel_after_three(run, args):
        calls.append(1)
        if len(calls) == 3:
            mm.interrupt_current_processing()
        return run(args["input"], args["timestep"], **args["c"])

    model.set_model_unet_function_wrapper(cancel_after_three)
    with pytest.raises(mm.InterruptProcessingException):
        between(model=model, steps=9, guidance=0.0)
    assert len(calls) == 3
    assert told == ["cancelled"]


def test_pictures_of_other_shapes_and_with_alpha_are_fitted_alike(photo, between):
    tall = torch.rand(1, 200, 50, 4, generator=torch.Generator().manual_seed(1))
    z, _ = between(photo, tall, fit="pad")
    assert z.shape == (T, 4, 8, 8)


def test_other_models_and_too_few_frames_get_one_sentence(load, between):
    import comfy.model_patcher

    cpu = torch.device("cpu")
    with pytest.raises(ValueError, match="frames 2 leaves nothing between two pictures; use at least 3"):
        between(frames=2)
    with pytest.raises(ValueError, match="this MODEL is Identity"):
        between(model=comfy.model_patcher.ModelPatcher(torch.nn.Identity(), cpu, cpu))
    with pytest.raises(ValueError, match="this model is SV3D, which orbits an object"):
        between(model=load("sv3d_u.safetensors", kind="sv3d_u").model)
    with pytest.raises(ValueError, match="motion_prior is nan"):
        between(motion_prior=float("nan"))
    with pytest.raises(ValueError, match="loop_repair is nan"):
        between(end=False, loop_repair=float("nan"))
