"""Camera moves and a clip that samplers follow, in the real host."""

import math

import pytest
import torch

assert_close = torch.testing.assert_close
FRAMES, STEPS = 4, 3


@pytest.fixture(scope="module")
def film(host):
    """film(image, **changes) -> images, mask, photo of a camera move."""

    def run(image, **changes):
        given = {
            "move": "Pan Left",
            "amount": 0.0,
            "frames": FRAMES,
            "border": "generate",
            "centre_x": 0.5,
            "centre_y": 0.5,
            "fov": 55.0,
            "depth_shows": "near is bright",
        }
        return host.run("PureSVDCameraMove", image=image, **{**given, **changes})

    return run


@pytest.fixture(scope="module")
def scene(host, ours, photo, describe, film):
    """positive, negative, latent, and a guide clip with its mask"""
    positive, negative, latent = (item[0] for item in describe(ours, photo))
    images, mask, _ = film(photo)
    return {"positive": positive, "negative": negative, "latent": latent, "images": images, "mask": mask}


@pytest.fixture(scope="module")
def follow(host, ours, scene):
    """follow(**changes) -> model, latent, denoise"""

    def run(**changes):
        given = {
            "model": ours.model,
            "vae": ours.vae,
            "images": scene["images"],
            "latent": scene["latent"],
            "adherence": "follow",
            "weak_level": -1.0,
            "strong_level": -1.0,
            "feather": 0,
            "fit": "crop",
            "mask": scene["mask"],
        }
        return host.run("PureSVDFollow", **{**given, **changes})

    return run


@pytest.fixture(scope="module")
def sample(host, scene):
    """sample(node_id, model, latent, denoise) -> latents by a native path or ours, from the start level"""

    def run(node_id, model, latent, denoise, *, sampler="euler"):
        common = {"positive": scene["positive"], "negative": scene["negative"]}
        if node_id == "KSampler":
            given = {"seed": 3, "steps": STEPS, "cfg": 1.0, "sampler_name": sampler, "scheduler": "karras"}
            return host.run(node_id, model=model, latent_image=latent, denoise=denoise, **given, **common)[0][
                "samples"
            ]
        if node_id == "PureSVDSample":
            given = {
                "seed": 3,
                "steps": STEPS,
                "min_cfg": 1.0,
                "max_cfg": 2.0,
                "curve": "linear",
                "schedule": "karras",
            }
            return host.run(node_id, model=model, latent=latent, sampler=sampler, **given, **common)[0][
                "samples"
            ]
        levels = {"sigma_max": 700.0, "sigma_min": 0.002, "rho": 7.0, "denoise": 1.0}
        (sigmas,) = host.run("PureSVDSigmas", schedule="karras", steps=STEPS, latent=latent, **levels)
        assert float(sigmas[0]) == pytest.approx(latent["start_level"])
        guider = host.run("PureSVDGuider", model=model, min_cfg=1.0, max_cfg=2.0, curve="linear", **common)[0]
        return host.run(
            "SamplerCustomAdvanced",
            noise=host.run("RandomNoise", noise_seed=3)[0],
            guider=guider,
            sampler=host.run("KSamplerSelect", sampler_name=sampler)[0],
            sigmas=sigmas,
            latent_image=latent,
        )[0]["samples"]

    return run


SAMPLERS = ("PureSVDSample", "SamplerCustomAdvanced", "KSampler")


@pytest.mark.parametrize("node_id", SAMPLERS)
def test_a_clip_held_to_the_end_comes_out(follow, sample, node_id, error):
    model, latent, denoise = follow(strong_level=0.0, mask=None)
    assert error(sample(node_id, model, latent, denoise), latent["samples"]) < 1e-4
    assert float(latent["samples"].std()) > 0.1


@pytest.mark.parametrize("node_id", SAMPLERS)
def test_a_mask_of_nothing_changes_nothing(ours, follow, sample, scene, node_id):
    model, latent, denoise = follow(mask=torch.zeros_like(scene["mask"]))
    assert torch.equal(sample(node_id, model, latent, denoise), sample(node_id, ours.model, latent, denoise))


def test_what_is_outside_the_mask_is_sampled(follow, sample, scene):
    mask = torch.zeros(1, 64, 64)
    mask[..., :32] = 1
    images = scene["images"].mean((1, 2), keepdim=True).expand(-1, 64, 64, -1)
    model, latent, denoise = follow(images=images, mask=mask, strong_level=0.0)
    found = sample("SamplerCustomAdvanced", model, latent, denoise)
    assert_close(found[..., :4], latent["samples"][..., :4], rtol=1e-3, atol=1e-3)
    assert float((found[..., 4:] - latent["samples"][..., 4:]).abs().mean()) > 0.05


def test_the_hold_is_the_cores(host, ours, follow, sample, scene, error):
    """The same model through the core's `hold` and sampler, started where the host starts."""
    model, latent, denoise = follow(strong_level=2.0)
    found = sample("PureSVDSample", model, latent, denoise, sampler="dpmpp_2m")
    hold, samplers = host.pack("svd_core.control.hold"), host.pack("svd_core.sampling.samplers")
    kept = [each for each in model.model_options["sampler_post_cfg_function"]][-1]
    assert host.pack("nodes.host.hold").border(model.model_options) == 2.0
    assert set(kept.mask.unique().tolist()) <= {0.0, 1.0}
    (free,) = host.run(
        "PureSVDGuider",
        model=ours.model,
        positive=scene["positive"],
        negative=scene["negative"],
        min_cfg=1.0,
        max_cfg=2.0,
        curve="linear",
    )

    def run(model, x, sigmas, extra_args=None, callback=None, disable=None):
        def denoise(x, sigma):
            return model(x, sigma.to(x).expand(len(x)), **extra_args)

        held = hold.hold(denoise, kept.z, kept.mask, strong_level=2.0)
        return hold.in_parts(samplers.dpmpp_2m, held, x, sigmas.cpu(), border=2.0)

    import comfy.samplers

    guider = host.pack("nodes.host.guider")
    levels = host.pack("nodes.widgets").noise_levels("karras", STEPS, start=latent["start_level"])
    wanted = guider.sample(free, latent, comfy.samplers.KSAMPLER(run), levels, 3)["samples"]
    assert error(found, wanted) < 1e-5


def test_levels_by_name_and_by_number(host, follow):
    given = {name: follow(adherence=name) for name in ("loose", "follow", "strict")}
    levels = {name: out[1]["start_level"] for name, out in given.items()}
    assert levels == {"loose": 120.0, "follow": 75.0, "strict": 75.0}
    border = host.pack("nodes.host.hold").border
    strong = [border(given[name][0].model_options) for name in given]
    assert strong == sorted(strong, reverse=True) == [45.0, 31.0, 5.0]
    model, latent, denoise = follow(weak_level=50.0, strong_level=10.0)
    assert (latent["start_level"], border(model.model_options)) == (50.0, 10.0)


def test_denoise_lets_karras_begin_at_the_start_level(host):
    """The tail that a native sampler runs: int(steps / denoise) levels, the last steps + 1 of them."""
    levels = host.pack("svd_core.sampling.noise_levels")
    for level in (120.0, 75.0, 31.0):
        tail = levels.karras(int(100 / levels.karras_share(level)))[-101:]
        assert float(tail[0]) == pytest.approx(level, rel=0.05)


def test_the_model_given_is_left_alone(ours, follow):
    before = dict(ours.model.model_options)
    follow()
    assert ours.model.model_options == before


def test_a_still_camera_gives_the_photo(film, photo):
    images, mask, first = film(photo, move="Static")
    assert torch.equal(images, photo.expand(FRAMES, -1, -1, -1))
    assert mask.all()
    assert torch.equal(first, photo)


def test_first_frame_is_the_photo_and_overscan_a_crop(film, photo):
    for border in ("generate", "replicate"):
        images, _, first = film(photo, border=border)
        assert torch.equal(images[:1], photo)
        assert torch.equal(first, photo)
    images, mask, first = film(photo, border="overscan")
    assert mask.all()
    assert torch.equal(first, images[:1])
    assert not torch.equal(first, photo)


def test_easing_comes_as_the_editor_sends_it_and_as_the_host_makes_it(film, photo):
    points = [[0, 0], [0.5, 1], [1, 0]]
    there_and_back, *_ = film(photo, frames=5, easing={"points": points, "interpolation": "linear"})
    assert torch.equal(there_and_back[-1], photo[0])
    assert_close(there_and_back[1], there_and_back[3])
    assert torch.equal(film(photo, frames=5, easing=points)[0][0], photo[0])
    with pytest.raises(ValueError, match="easing is"):
        film(photo, easing="ease_in")
    api = pytest.importorskip("comfy_api.input")
    if hasattr(api, "CurveInput"):  # hosts since 0.24
        curve = api.CurveInput.from_raw({"points": points, "interpolation": "linear"})
        assert_close(film(photo, frames=5, easing=curve)[0], there_and_back)


def test_depth_moves_near_things_more(film, photo):
    depth = torch.zeros_like(photo)
    depth[:, 20:50, 30:60] = 1
    images, mask, _ = film(photo, move="Orbit Right", depth=depth, frames=2)
    assert not torch.equal(images[1], images[0])
    assert 0.3 < float(mask[1].mean()) < 1
    far, *_ = film(photo, move="Orbit Right", depth=1 - depth, depth_shows="far is bright", frames=2)
    assert_close(far, images)


def test_what_may_move_is_left_out_of_the_mask_and_goes_with_the_camera(film, photo):
    moving = torch.zeros(1, 72, 96)
    moving[:, 30:40, 40:50] = 1
    _, mask, _ = film(photo, move="Static", moving=moving)
    assert not mask[:, 30:40, 40:50].any()
    assert int((mask[0] == 0).sum()) == (10 + 32) ** 2
    _, panned, _ = film(photo, move="Pan Right", amount=0.2, moving=moving)
    columns = (panned[-1, 35] == 0).nonzero().flatten()
    assert int(columns.min()) < 40 - 16


WRONG = [
    ({"move": "Zoom In", "amount": 0.5}, "amount 0.5 is not one of Zoom In; use 1 to 8"),
    ({"move": "Orbit Left", "amount": 90.0}, "use 0 to 45"),
    ({"amount": math.nan}, "amount is nan"),
    ({"fov": math.nan}, "fov is nan"),
    ({"move": "Dolly In"}, "wire a depth map"),
    ({"move": "Dolly In", "depth": torch.ones(1, 72, 96, 3)}, "one value everywhere"),
    ({"move": "Dolly In", "depth": torch.full((1, 72, 96, 3), math.nan)}, "NaN"),
    ({"move": "Dolly In", "depth": torch.rand(1, 30, 96, 3)}, "the depth map is 96x30"),
    ({"moving": torch.zeros(3, 72, 96)}, "the mask has 3 frames"),
    ({"frames": 10**6}, "GiB"),
]


@pytest.mark.parametrize(("changes", "sentence"), WRONG)
def test_wrong_camera_is_refused_in_a_sentence(film, photo, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        film(photo, **changes)


def test_several_photos_are_refused(film, photo):
    with pytest.raises(ValueError, match="2 pictures"):
        film(torch.cat([photo, photo]))


def test_amounts_are_checked_before_anything_runs(host):
    check = host.node("PureSVDCameraMove").validate_inputs
    assert check(move="Pan Left", amount=0.0) is True
    assert check() is True
    assert check(move=None, amount=1.0) is True
    assert "use 0 to 2" in check(move="Pan Left", amount=15.0)
    assert "unknown" in check(move="Sideways", amount=0.0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"strong_level": 80.0}, "strong_level 80 must lie below weak_level 75"),
        ({"weak_level": math.nan}, "weak_level is nan"),
        ({"images": torch.rand(9, 64, 64, 3)}, "the guide clip has 9 frames, the latent 4"),
        ({"mask": torch.rand(3, 72, 96)}, "the mask has 3 frames"),
        ({"mask": torch.rand(1, 20, 96)}, "the mask is 96x20"),
        ({"mask": torch.full((1, 72, 96), math.nan)}, "NaN"),
    ],
)
def test_wrong_clip_is_refused_in_a_sentence(follow, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        follow(**changes)


def test_another_latent_than_the_clips_is_refused(follow, sample):
    model, latent, denoise = follow()
    with pytest.raises(ValueError, match="sample the latent of Follow Clip"):
        sample("SamplerCustomAdvanced", model, {**latent, "samples": torch.zeros(4, 4, 8, 16)}, denoise)


def test_masks_become_latent_masks_by_majority(host):
    to_latent = host.pack("nodes.follow").to_latent
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8, :8] = 1
    mask[..., 8:, :4] = 1
    mask[..., 8:12, 8:11] = 1
    assert to_latent(mask, 0)[0, 0].tolist() == [[1, 0], [1, 0]]
    soft = to_latent(mask, 8)
    assert 0 < float(soft[0, 0, 0, 1]) < 1
