"""More Motion: what it hands to samplers, ours and native ones, and that strength 0 touches nothing."""

import pytest
import torch

assert_close = torch.testing.assert_close


@pytest.fixture(scope="module")
def conditioning(ours, photo, describe):
    return [item[0] for item in describe(ours, photo)]


@pytest.fixture(scope="module")
def moved(host, conditioning):
    """moved(**changes) -> positive, negative, latent, denoise"""

    def run(**changes):
        named = dict(zip(("positive", "negative", "latent"), conditioning))
        return host.run("PureSVDMotion", **{**named, "strength": 0.0, **changes})

    return run


def watched(model):
    """A clone, and for each call of its network the level, the photo as it sees it, and the vector."""
    seen, clone = [], model.clone()

    def run(forward, args):
        c = args["c"]
        seen.append((float(args["timestep"][0]), c["c_concat"].clone(), c["y"].clone()))
        return forward(args["input"], args["timestep"], **c)

    clone.set_model_unet_function_wrapper(run)
    return clone, seen


ALONE = dict(min_cfg=1.0, max_cfg=1.0, curve="constant", steps=4)


def test_strength_zero_hands_everything_on(ours, photo, conditioning, moved, video):
    *told, denoise = moved()
    assert all(a is b for a, b in zip(told, conditioning))
    assert denoise == 1.0
    plain = video(ours, photo, conditioning=conditioning, **ALONE)
    assert torch.equal(plain, video(ours, photo, conditioning=told, **ALONE))
    assert torch.equal(
        plain, video(ours, photo, conditioning=moved(mean="photo", blur_factor=0.1)[:3], **ALONE)
    )


def test_strength_lowers_the_start_and_raises_the_bucket(ours, photo, conditioning, moved, video):
    *told, _ = moved(strength=0.5)
    positive, negative, latent = told
    assert latent["start_level"] == pytest.approx((700 * 50) ** 0.5)
    assert [entries[0][1]["motion_bucket_id"] for entries in (positive, negative)] == [191.0, 191.0]
    z = conditioning[0][0][1]["concat_latent_image"]
    assert_close(latent["samples"], z.mean((2, 3), keepdim=True).expand(4, 4, 8, 8))
    model, seen = watched(ours.model)
    video(ours, photo, model=model, conditioning=told, **ALONE)
    assert seen[0][0] == pytest.approx(latent["start_level"], rel=1e-4)
    assert len(seen) == 4
    kept = moved(strength=0.5, raise_bucket=False)[0][0][1]["motion_bucket_id"]
    assert kept == 127


def test_first_latent_has_the_asked_mean_and_variance(host, ours, photo, conditioning, moved, video):
    """Seen from the network's input: mean of the photo's colour, deviation of level and data together."""
    latent = moved(start_level=2.0)[2]
    inputs, model = [], ours.model.clone()
    model.set_model_unet_function_wrapper(
        lambda run, args: inputs.append(args["input"]) or run(args["input"], args["timestep"], **args["c"])
    )
    video(ours, photo, model=model, conditioning=(*conditioning[:2], latent), **{**ALONE, "steps": 1})
    noise = host.pack("nodes.host.guider").noise_like(latent, 3)
    scaled = 0.18215 * latent["samples"]
    wanted = scaled + (4 + latent["start_variance"]) ** 0.5 * noise
    assert_close(inputs[0], wanted, rtol=1e-4, atol=1e-4)
    assert latent["start_variance"] > 0


def test_blur_holds_above_the_level_and_nothing_changes_below(ours, photo, conditioning, moved, video):
    model, seen = watched(ours.model)
    video(ours, photo, model=model, conditioning=conditioning, **ALONE)
    sharp = seen[:]
    seen.clear()
    told = moved(blur=1.0, blur_factor=0.25, until_level=50.0)[:3]
    video(ours, photo, model=model, conditioning=told, **ALONE)
    assert [level for level, _, _ in seen] == [level for level, _, _ in sharp]
    for (level, concat, _), (_, wanted, _) in zip(seen, sharp):
        assert torch.equal(concat[0], wanted[0])  # the first frame stays sharp
        assert torch.equal(concat[1:], wanted[1:]) == (level <= 50.0)
    detail = [float(rows.std(dim=(2, 3)).mean()) for rows in (seen[0][1][1:], sharp[0][1][1:])]
    assert detail[0] < detail[1]


@pytest.mark.parametrize("options", [{"blur_factor": 1.0}, {"until_level": 700.0}], ids=str)
def test_blur_that_cannot_act_keeps_the_bytes(ours, photo, conditioning, moved, video, options):
    told = moved(blur=1.0, **options)[:3]
    plain = video(ours, photo, conditioning=conditioning, **ALONE)
    assert torch.equal(plain, video(ours, photo, conditioning=told, **ALONE))


def test_early_conditioning_holds_above_the_level(ours, photo, conditioning, describe, moved, video):
    early = [item[0] for item in describe(ours, photo, augmentation_level=0.14)]
    told = moved(early_positive=early[0], early_negative=early[1], until_level=50.0)[:3]
    model, seen = watched(ours.model)
    guided = dict(min_cfg=1.0, max_cfg=2.0, curve="linear", steps=4)
    found = {}
    for name, one in (("early", early), ("late", conditioning), ("told", told)):
        video(ours, photo, model=model, conditioning=one, **guided)
        found[name], seen[:] = seen[:], []
    for i, (level, concat, y) in enumerate(found["told"]):
        _, photo_then, y_then = found["early" if level > 50 else "late"][i]
        assert torch.equal(concat, photo_then)
        assert torch.equal(y, y_then)


def test_native_sampler_starts_near_by_its_denoise(host, ours, conditioning, moved):
    *told, denoise = moved(start_level=100.0)
    model, seen = watched(ours.model)
    host.run(
        "KSampler",
        model=model,
        positive=told[0],
        negative=told[1],
        latent_image=told[2],
        seed=3,
        steps=10,
        cfg=1.0,
        sampler_name="euler",
        scheduler="karras",
        denoise=denoise,
    )
    assert len(seen) == 10
    assert seen[0][0] == pytest.approx(100.0, rel=0.15)  # the host rounds to whole steps


def test_statistics_come_from_a_file_of_the_same_size(host, moved):
    from safetensors.torch import save_file

    folder = host.pack("nodes.files").Path(host.pack("nodes.files").folder_paths.models_dir, "svd_statistics")
    made = not folder.exists()
    folder.mkdir(exist_ok=True)
    path = folder / "tests_only.safetensors"
    try:
        mean = torch.randn(4, 4, 8, 8)
        save_file({"Expectation_x_0": mean, "trCov_d": torch.tensor(0.7)}, path)
        given = dict(mean="statistics", statistics_name=path.name, start_level=60.0)
        latent = moved(**given)[2]
        assert_close(latent["samples"] * 0.18215, mean)
        assert latent["start_variance"] == pytest.approx(0.7)
        save_file({"Expectation_x_0": mean[:3], "trCov_d": torch.tensor(0.7)}, path)
        with pytest.raises(ValueError, match="statistics cannot be resized"):
            moved(**given)
    finally:
        path.unlink()
        if made:
            folder.rmdir()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"strength": float("nan")}, "strength is nan"),
        ({"until_level": float("inf")}, "until_level is inf"),
        ({"mean": "statistics", "start_level": 9.0}, "no statistics 'none'"),
        ({"early_positive": "text"}, "early_positive is not conditioning|early_positive is no conditioning"),
    ],
    ids=str,
)
def test_wrong_values_get_one_sentence(moved, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        moved(**options)


def test_photo_of_another_size_or_none_is_refused_where_it_matters(host, conditioning, moved):
    wide = {"samples": torch.zeros(4, 4, 8, 16)}
    with pytest.raises(ValueError, match="described for 64x64 pixels, the latent is 128x64"):
        moved(latent=wide, start_level=50.0, mean="photo")
    assert moved(latent=wide, start_level=50.0)[2]["samples"].shape == (4, 4, 8, 16)
    bare = [[conditioning[0][0][0], {}]]
    with pytest.raises(ValueError, match="positive holds no photo"):
        moved(positive=bare, start_level=50.0)
    assert not moved(positive=bare, start_level=50.0, mean="none")[2]["samples"].any()
