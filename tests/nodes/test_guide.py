"""Guidance in the host: the core's formula, its passes counted, drawn curves, and the picture on the node."""

import pytest
import torch

assert_close = torch.testing.assert_close

APG = dict(eta=0.2, limit=0.02, limit_over="frame", momentum=-0.5, over_levels="as CFG++")


@pytest.fixture(scope="module")
def conditioning(ours, photo, describe):
    return [item[0] for item in describe(ours, photo)]


@pytest.fixture(scope="module")
def guided(host, ours, conditioning):
    """guided(model, steps, **options) -> samples on Karras levels, and the guider's ui."""

    def run(model=None, steps=3, **options):
        positive, negative, latent = conditioning
        given = dict(model=model or ours.model, positive=positive, negative=negative)
        made = host.node("PureSVDGuider").execute(
            **given, **{"min_cfg": 1.0, "max_cfg": 2.5, "curve": "linear", **options}
        )
        sigmas = host.pack("svd_core.sampling.noise_levels").karras(steps)
        (noise,) = host.run("RandomNoise", noise_seed=3)
        (sampler,) = host.run("KSamplerSelect", sampler_name="euler")
        parts = dict(noise=noise, guider=made.args[0], sampler=sampler, sigmas=sigmas, latent_image=latent)
        return host.run("SamplerCustomAdvanced", **parts)[0]["samples"], made.ui

    return run


def in_the_core(host, model, conditioning, **options):
    """The same run by the core's own loop on the same network."""
    pack = host.pack
    context, details = conditioning[0][0]
    network = pack("svd_core.models.unet").VideoUNet(model.model.diffusion_model.config).eval()
    network.load_state_dict(model.model.diffusion_model.state_dict())
    y = model.model.encode_adm(**{k: v for k, v in details.items() if k != "concat_latent_image"})
    described = pack("svd_core.conditioning.conditioning").Conditioning(
        context, details["concat_latent_image"], y
    )
    guidance, levels = (
        pack("svd_core.sampling.guidance"),
        pack("svd_core.sampling.noise_levels").karras(3),
    )
    run = guidance.Guidance(guidance.linear(1.0, 2.5, 4), guidance.Shape(**options), levels)
    samplers = pack("svd_core.sampling.samplers")
    noise = pack("nodes.host.guider").noise_like(conditioning[2], 3)
    x = samplers.euler(guidance.guided(network, described, run), samplers.initial(noise, levels[0]), levels)
    return x / pack("svd_core.models.vae").SCALE


@pytest.mark.parametrize("options", [{}, {"eta": 0.0}, APG, {"from_level": 300.0, "to_level": 1.0}], ids=str)
def test_guider_is_the_cores_guidance(host, ours, conditioning, guided, options, error):
    found = guided(**options)[0]
    assert error(found, in_the_core(host, ours.model, conditioning, **options)) < 1e-4  # rounding, 3 steps
    if options:
        assert error(found, guided()[0]) > 1e-3


def test_new_inputs_left_alone_keep_the_bytes(ours, photo, conditioning, guided, video):
    spoken = dict(
        from_level=10000.0,
        to_level=0.0,
        over_levels="even",
        eta=1.0,
        limit=0.0,
        limit_over="clip",
        momentum=0.0,
    )
    found = guided()[0]
    assert torch.equal(found, guided(**spoken)[0])
    assert torch.equal(found, video(ours, photo, conditioning=conditioning))


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({}, [8, 8, 8]),
        ({"from_level": 100.0}, [4, 8, 8]),
        ({"to_level": 1.0}, [8, 8, 4]),
        ({"from_level": 1.5, "to_level": 1.5}, [4, 4, 4]),
    ],
    ids=str,
)
def test_levels_without_guidance_cost_half(ours, guided, options, rows):
    seen, model = [], ours.model.clone()

    def run(forward, args):
        seen.append(len(args["input"]))
        return forward(args["input"], args["timestep"], **args["c"])

    model.set_model_unet_function_wrapper(run)
    guided(model, **options)  # levels 700, 13.6, 0.002
    assert seen == rows


def test_momentum_is_refused_for_samplers_that_ask_twice(host, ours, conditioning):
    positive, negative, latent = conditioning
    guider = (
        host.node("PureSVDGuider")
        .execute(ours.model, positive, negative, 1.0, 2.5, "linear", momentum=-0.5)
        .args[0]
    )
    sigmas = host.pack("svd_core.sampling.noise_levels").karras(3)
    (noise,) = host.run("RandomNoise", noise_seed=3)
    (sampler,) = host.run("KSamplerSelect", sampler_name="heun")
    parts = dict(noise=noise, guider=guider, sampler=sampler, sigmas=sigmas, latent_image=latent)
    with pytest.raises(ValueError, match="asks once at each level"):
        host.run("SamplerCustomAdvanced", **parts)


def test_drawn_curves_run_between_both_scales(host, ours):
    scales, preset = host.pack("nodes.widgets").frame_scales, ours.model.model.preset
    points = [(1.0, 0.0), (0.0, 0.0), (0.5, 1.0)]
    wanted = torch.tensor([1.0, 2.0, 3.0, 2.0, 1.0])
    for value in (points, {"points": [list(point) for point in points]}):
        assert_close(scales(preset, 1.0, 3.0, "drawn", drawn=value)(5), wanted)
    curves = pytest.importorskip("comfy_api.input")
    if hasattr(curves, "LinearCurve"):
        made = curves.LinearCurve(sorted(points))
        assert_close(scales(preset, 1.0, 3.0, "drawn", drawn=made)(5), wanted)
    assert scales(preset, 1.0, 3.0, "drawn", drawn=[(0.3, 0.5)])(4).tolist() == [2.0] * 4


def test_curve_drawn_on_the_node_is_as_smooth_as_it_is_shown(host, ours):
    """The editor's dictionary says how its points are joined; the host's own curve is the reference."""
    curves = pytest.importorskip("comfy_api.input")
    if not hasattr(curves, "MonotoneCubicCurve"):
        pytest.skip("this host has no curve to compare with")
    scales, preset = host.pack("nodes.widgets").frame_scales, ours.model.model.preset
    points = [(0.0, 0.1), (0.3, 0.9), (1.0, 0.2)]
    made = curves.MonotoneCubicCurve(points)
    wanted = torch.tensor([1.0 + 2.0 * float(made.interp(i / 6)) for i in range(7)])
    given = {"points": [list(point) for point in points], "interpolation": "monotone_cubic"}
    assert_close(scales(preset, 1.0, 3.0, "drawn", drawn=given)(7), wanted)
    straight = scales(preset, 1.0, 3.0, "drawn", drawn={**given, "interpolation": "linear"})(7)
    assert torch.equal(straight, scales(preset, 1.0, 3.0, "drawn", drawn=points)(7))
    assert (straight - wanted).abs().max() > 0.05
    with pytest.raises(ValueError, match="'wavy' is unknown; use monotone_cubic or linear"):
        scales(preset, 1.0, 3.0, "drawn", drawn={**given, "interpolation": "wavy"})(7)


@pytest.mark.parametrize(
    "value", [[], [(0.0, float("nan"))], [(0.0,)], "text", {"points": None}, [1, 2]], ids=repr
)
def test_curves_that_are_none_get_one_sentence(host, ours, value):
    scales, preset = host.pack("nodes.widgets").frame_scales, ours.model.model.preset
    with pytest.raises(ValueError, match="a curve has pairs of finite x and y"):
        scales(preset, 1.0, 3.0, "drawn", drawn=value)
    with pytest.raises(ValueError, match="wire a Curve Editor into it"):
        scales(preset, 1.0, 3.0, "drawn")


def test_picture_shows_scales_and_which_passes_are_saved(host, guided):
    from PIL import Image

    drawing, core = host.pack("svd_core.sampling.guidance_picture"), host.pack("svd_core.sampling.guidance")
    levels = host.pack("svd_core.sampling.noise_levels").karras(5)
    run = core.Guidance(core.linear(1.0, 2.5, 14), core.Shape(from_level=100.0), levels)
    scale = drawing.scales(run, levels)
    assert drawing.passes(scale) == 5 + int((levels[:-1] <= 100).sum())
    image = drawing.draw(run, levels)
    assert image.shape == (1, 44 + 16 * 5 + 24, 64 + 30 * 14 + 8, 3)
    x, grey = 64 + 30 * 13 + 25, torch.tensor(drawing.SKIPPED) / 255
    rows = [image[0, 44 + 16 * i + 12, x] for i in range(5)]
    assert [bool(torch.equal(row, grey)) for row in rows] == [bool(level > 100) for level in levels[:-1]]
    assert_close(rows[-1], torch.tensor(drawing.HOT) / 255)
    (file,) = guided()[1]["images"]
    path = host.pack("nodes.files").folder_paths.get_temp_directory()
    with Image.open(f"{path}/{file['filename']}") as shown:
        assert shown.width > 300
