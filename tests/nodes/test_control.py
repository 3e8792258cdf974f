"""CONTROL_NET in the real host: Apply ControlNet and KSampler on the tiny model."""

import json

import pytest
import torch

T = 4


@pytest.fixture(scope="module")
def core():
    """The core's networks and names, as seen from the repository."""
    import importlib

    names = (
        "models.controlnet",
        "models.controlnext",
        "models.hooks",
        "checkpoint.convert",
        "checkpoint.write",
    )
    return {name: importlib.import_module(f"svd_core.{name}") for name in names}


@pytest.fixture(scope="module")
def network(ours, core):
    """A control network whose encoder is the tiny U-Net's, with random convolutions."""
    from tests.svd_core.references import randomized

    unet = ours.model.model.diffusion_model
    made = randomized(core["models.controlnet"].ControlNet(unet.config), seed=4)
    made.load_state_dict(unet.state_dict(), strict=False)
    return made


@pytest.fixture(scope="module")
def save(host, ours, core, network):
    """save(name, zero) -> name of a file in the published names."""
    config = ours.model.model.diffusion_model.config
    hints = json.dumps({"head_dim": config.head_dim, "unet_norm_groups": config.norm_groups})

    def run(name, zero=False):
        state = network.state_dict()
        own = {k: v for k, v in state.items() if k.startswith("controlnet_")}
        encoder = {k: v for k, v in state.items() if k not in own}
        if zero:
            own = {k: v * 0 if "down_blocks" in k or "mid_block" in k else v for k, v in own.items()}
        folder = host.base / "models" / "controlnet"
        folder.mkdir(exist_ok=True)
        tensors = {**core["checkpoint.convert"].unet_to_diffusers(encoder)[0], **own}
        core["checkpoint.write"].write_safetensors(folder / name, tensors, {"puresvd": hints})
        return name

    return run


@pytest.fixture(scope="module")
def control(host, save):
    def run(name="random.safetensors", zero=False, accumulation="as trained", hint_range="as trained"):
        given = dict(accumulation=accumulation, hint_range=hint_range)
        return host.run("PureSVDLoadControlNet", control_net_name=save(name, zero), **given)[0]

    return run


@pytest.fixture(scope="module")
def controlnext(host, core):
    from tests.svd_core.references import randomized

    folder = host.base / "models" / "controlnet"
    folder.mkdir(exist_ok=True)
    made = randomized(core["models.controlnext"].ControlNeXt(32), seed=5)
    core["checkpoint.write"].write_safetensors(folder / "next.safetensors", made.state_dict())
    given = dict(accumulation="once", hint_range="as trained")
    return host.run("PureSVDLoadControlNet", control_net_name="next.safetensors", **given)[0]


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(T, 64, 64, 3, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def described(ours, photo, describe):
    return [item[0] for item in describe(ours, photo)]


@pytest.fixture(scope="module")
def apply(host, described):
    """apply(control net, pictures, ...) -> positive, negative"""

    def run(net, images, strength=1.0, start=0.0, end=1.0, positive=None, negative=None):
        return host.run(
            "ControlNetApplyAdvanced",
            positive=positive or described[0],
            negative=negative or described[1],
            control_net=net,
            image=images,
            strength=strength,
            start_percent=start,
            end_percent=end,
        )

    return run


@pytest.fixture(scope="module")
def sampled(host, ours, described):
    def run(positive=None, negative=None, cfg=2.0):
        (out,) = host.run(
            "KSampler",
            model=ours.model,
            positive=positive or described[0],
            negative=negative or described[1],
            latent_image=described[2],
            seed=3,
            steps=2,
            cfg=cfg,
            sampler_name="euler",
            scheduler="karras",
            denoise=1.0,
        )
        return out["samples"]

    return run


@pytest.fixture(scope="module")
def inputs():
    g = torch.Generator().manual_seed(7)
    x = torch.randn(T, 4, 8, 8, generator=g) * 5
    cond = {
        "c_concat": torch.randn(T, 4, 8, 8, generator=g),
        "c_crossattn": torch.randn(T, 1, 16, generator=g),
    }
    return x, torch.full((T,), 5.0), cond | {"y": torch.randn(T, 768, generator=g)}


def residuals(ours, positive, inputs, options=None):
    """What the CONTROL_NET of a conditioning gives the U-Net."""
    net, (x, sigma, cond) = positive[0][1]["control"], inputs
    net.pre_run(ours.model.model, ours.model.model.model_sampling.percent_to_sigma)
    return net.get_control(x, sigma, cond, 1, {} if options is None else options)


def test_zero_convolutions_change_no_bit(control, apply, sampled, pictures):
    assert torch.equal(sampled(*apply(control("zero.safetensors", zero=True), pictures)), sampled())


def test_random_ones_change_the_video_with_the_pictures(control, apply, sampled, pictures, error):
    net = control()
    one, other = (sampled(*apply(net, images)) for images in (pictures, 1 - pictures))
    assert error(one, sampled()) > 1e-2
    assert error(one, other) > 1e-3


@pytest.mark.parametrize("accumulation", ["as trained", "once"])
def test_pass_equals_the_explicit_sum_of_two_networks(
    ours, core, network, control, apply, pictures, inputs, accumulation
):
    positive, _ = apply(control(accumulation=accumulation), pictures, strength=0.7)
    (x, sigma, cond), unet = inputs, ours.model.model.diffusion_model
    sampling = ours.model.model.model_sampling
    xc = torch.cat([sampling.calculate_input(sigma, x), cond["c_concat"]], dim=1)
    c_noise, context, y = sampling.timestep(sigma), cond["c_crossattn"], cond["y"]
    hint = pictures.movedim(-1, 1) * 2 - 1
    with torch.no_grad():
        skips, middle = network(xc, hint, c_noise, context, y, t=T)
    counts = {"as trained": [2, 2, 2, 1], "once": [1, 1, 1, 1]}[accumulation]  # two levels of one block

    class Sum(core["models.hooks"].Hooks):
        def after_middle(self, h):
            return h + 0.7 * middle

        def before_output(self, h, skip):
            i = len(left) - 1
            return h, skip + 0.7 * counts[i] * left.pop()

    left = list(skips)
    wanted = sampling.calculate_denoised(
        sigma, super(type(unet), unet).forward(xc, c_noise, context, y, t=T, hooks=Sum()), x
    )
    found = ours.model.model.apply_model(
        x,
        sigma,
        **cond,
        num_video_frames=T,
        control=residuals(ours, positive, inputs),
        transformer_options={},
    )
    assert len(skips) == len(counts)
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))


def test_strength_is_linear(ours, control, apply, pictures, inputs):
    net = control()
    one, two = (residuals(ours, apply(net, pictures, strength=s)[0], inputs) for s in (1.0, 2.0))
    for key in ("middle", "output"):
        assert all(torch.allclose(2 * a, b) for a, b in zip(one[key], two[key]))


def test_range_of_steps_is_kept(control, apply, sampled, pictures):
    net = control()
    assert torch.equal(sampled(*apply(net, pictures, start=1.0)), sampled())
    assert not torch.equal(sampled(*apply(net, pictures, end=0.5)), sampled(*apply(net, pictures)))


def test_last_picture_stays_where_there_are_fewer_than_frames(ours, control, apply, pictures, inputs):
    net = control()
    few, held = pictures[:2], pictures[[0, 1, 1, 1]]
    a, b = (residuals(ours, apply(net, images)[0], inputs) for images in (few, held))
    assert all(torch.equal(x, y) for x, y in zip(a["output"], b["output"]))


def test_window_of_frames_gets_its_pictures(ours, control, apply, pictures, inputs):
    class Window:
        index_list = (3, 2, 1, 0)

    net = control()
    a = residuals(ours, apply(net, pictures)[0], inputs, {"context_window": Window})
    b = residuals(ours, apply(net, pictures.flip(0))[0], inputs)
    assert all(torch.equal(x, y) for x, y in zip(a["output"], b["output"]))


def test_pictures_of_other_sizes_and_ranges(ours, control, apply, pictures, inputs):
    white = torch.ones(1, 32, 96, 3)
    by_range = [
        residuals(ours, apply(control(hint_range=name), white)[0], inputs)["middle"][0]
        for name in ("as trained", "-1 to 1", "0 to 1")
    ]
    assert torch.equal(by_range[0], by_range[2])  # white is 1 in both
    assert torch.equal(by_range[0], by_range[1])
    black = [
        residuals(ours, apply(control(hint_range=name), 0 * white)[0], inputs)["middle"][0]
        for name in ("as trained", "-1 to 1", "0 to 1")
    ]
    assert torch.equal(black[0], black[1])
    assert not torch.equal(black[0], black[2])


def test_controlnext_acts_on_the_guided_half_alone(controlnext, apply, sampled, pictures, error):
    """Without guidance only the conditional pass runs; of a guided step, the other pass stays as it was."""
    guided, plain = apply(controlnext, pictures), sampled()
    assert error(sampled(*guided), plain) > 1e-3
    assert torch.equal(sampled(*guided, cfg=0.0), sampled(cfg=0.0))


def test_controlnext_joins_after_the_first_downsampling(ours, core, controlnext, apply, pictures, inputs):
    found = residuals(ours, apply(controlnext, pictures, strength=2.0)[0], inputs, {"cond_or_uncond": [0]})
    ((block, join),) = found["after_skip"]
    assert block == 2  # of one residual block a level; 3 in the released ones
    h = torch.randn(T, 32, 4, 4, generator=torch.Generator().manual_seed(0))
    features = controlnext.network(
        pictures.movedim(-1, 1), ours.model.model.model_sampling.timestep(inputs[1])
    )
    wanted = core["models.controlnext"].inject(h, features, torch.full((T,), 0.4))
    assert torch.allclose(join(h), wanted, atol=1e-5)


def test_controls_add_up(ours, control, controlnext, apply, pictures, inputs):
    net = control()
    one = residuals(ours, apply(net, pictures)[0], inputs)
    both = apply(net, pictures, positive=apply(controlnext, pictures)[0])[0]
    twice = apply(net, pictures, positive=apply(net, pictures)[0])[0]
    found = residuals(ours, both, inputs, {"cond_or_uncond": [0]})
    assert len(found["after_skip"]) == 1
    assert all(torch.equal(a, b) for a, b in zip(found["output"], one["output"]))
    assert all(
        torch.allclose(a, 2 * b) for a, b in zip(residuals(ours, twice, inputs)["output"], one["output"])
    )


def test_network_of_another_width_is_refused(host, save, apply, control, controlnext, pictures, load):
    from tests.make_checkpoint import unet_config

    wide = load("wide.safetensors", unet=unet_config(model_channels=64, context_dim=16))
    for net, told in ((control(), "made for a U-Net of width 32"), (controlnext, "gives 32 channels")):
        positive, _ = apply(net, pictures)
        with pytest.raises(ValueError, match=told):
            positive[0][1]["control"].pre_run(wide.model.model, lambda percent: percent)


def test_other_models_are_refused(native, control, apply, pictures):
    positive, _ = apply(control(), pictures)
    with pytest.raises(ValueError, match="load the model with Load Video Checkpoint"):
        positive[0][1]["control"].pre_run(native.model.model, lambda percent: percent)
