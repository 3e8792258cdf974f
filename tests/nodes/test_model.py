"""MODEL: every hook of the host's U-Net acts on ours as on its own; other models' inputs are refused."""

import pytest
import torch

T, H, W = 4, 9, 14  # odd latents: upsampling must follow the skips


def inputs(network, tokens=1, rows=2 * T):
    config, g = network.config, torch.Generator().manual_seed(0)
    x = torch.randn(rows, 8, H, W, generator=g)
    c_noise = torch.randn(rows, generator=g)
    context = torch.randn(rows, tokens, config.context_dim, generator=g)
    return x, c_noise, context, torch.randn(rows, config.adm_in_channels, generator=g)


@pytest.fixture(scope="module")
def both(ours, native):
    return ours.model.model.diffusion_model, native.model.model.diffusion_model


def outputs(both, arguments, control=lambda: None, options=dict, **kwargs):
    return [unet(*arguments, control(), options(), num_video_frames=T, **kwargs) for unet in both]


@pytest.mark.parametrize("tokens", [1, 3])
def test_forward_equals_the_hosts_network(both, error, tokens):
    assert error(*outputs(both, inputs(both[0], tokens))) < 1e-5


def test_time_context_is_that_of_each_clips_first_frame(both, error):
    time_context = torch.randn(2 * T, 1, both[0].config.context_dim)
    assert error(*outputs(both, inputs(both[0]), time_context=time_context)) < 1e-5


def test_control_residuals_are_consumed_in_the_hosts_order(both, error):
    shapes = [(32, 9, 14), (32, 9, 14), (32, 5, 7), (64, 5, 7)]

    def control():
        g = torch.Generator().manual_seed(1)
        lists = {"input": shapes[::-1], "middle": [(64, 5, 7)], "output": shapes}
        return {name: [torch.randn(2 * T, *s, generator=g) for s in sizes] for name, sizes in lists.items()}

    def with_gaps():
        return {**control(), "output": [None, *control()["output"][1:]]}

    plain = outputs(both, inputs(both[0]))[0]
    for make in (control, with_gaps):
        found, wanted = outputs(both, inputs(both[0]), control=make)
        assert error(found, wanted) < 1e-5
        assert error(found, plain) > 1e-2


def scale(factor):
    return lambda h, *_: h * factor


PATCHES = {
    "attn1_patch": lambda n, context, value, _: (n * 1.1, context, value * 0.9),
    "attn2_patch": lambda n, context, value, _: (n, context * 1.2, value * 0.8),
    "attn1_output_patch": scale(1.3),
    "attn2_output_patch": scale(0.7),
    "middle_patch": scale(1.05),
    "input_block_patch": scale(1.01),
    "input_block_patch_after_skip": scale(0.98),
    "output_block_patch": lambda h, skip, _: (h * 1.02, skip * 0.97),
    "middle_block_after_patch": lambda given: {"h": given["h"] * 1.1},
    "emb_patch": lambda emb, channels, _: emb + 0.1,
}


@pytest.fixture(scope="module")
def patches(host):
    """Those that this host's own network knows."""
    from comfy.model_patcher import ModelPatcher

    return {
        name: patch
        for name, patch in PATCHES.items()
        if hasattr(ModelPatcher, f"set_model_{name}") or name == "middle_patch"
    }


@pytest.mark.parametrize("name", PATCHES)
def test_patches_act_as_in_the_hosts_network(both, error, patches, name):
    if name not in patches:
        pytest.skip(f"this host knows no {name}")

    def options():
        return {"patches": {name: [patches[name]]}}

    plain = outputs(both, inputs(both[0]))[0]
    found, wanted = outputs(both, inputs(both[0]), options=options)
    assert error(found, wanted) < 1e-5
    assert error(found, plain) > 1e-5


def test_all_patches_and_replacements_together_see_the_same_options(both, patches, error):
    seen = []

    def replacement(q, k, v, extra):
        keys = (
            "block",
            "block_index",
            "transformer_index",
            "n_heads",
            "dim_head",
            "activations_shape",
            "original_shape",
        )
        seen[-1].append([tuple(q.shape), *(extra[key] for key in keys)])
        return v * 1.5 if v.shape == q.shape else q

    def options():
        seen.append([])
        replace = {
            "attn1": {("middle", 0): replacement, ("output", 2, 0): replacement},
            "attn2": {("input", 1): replacement},
        }
        return {"patches": {name: [patch] for name, patch in patches.items()}, "patches_replace": replace}

    assert error(*outputs(both, inputs(both[0]), options=options)) < 1e-5
    assert seen[0] == seen[1]
    assert len(seen[0]) == 6  # three blocks, each over space and over time


def test_wrappers_and_attention_override_are_called(both):
    import comfy.patcher_extension as extension

    calls = []

    def wrapper(run, *args, **kwargs):
        calls.append("wrapper")
        return run(*args, **kwargs) * 2

    def override(attention, *args, **kwargs):
        calls.append("attention")
        return attention(*args, **kwargs)

    plain = both[0](*inputs(both[0]), None, {}, num_video_frames=T)
    options = {"optimized_attention_override": override}
    extension.add_wrapper(extension.WrappersMP.DIFFUSION_MODEL, wrapper, options)
    doubled = both[0](*inputs(both[0]), None, options, num_video_frames=T)
    torch.testing.assert_close(doubled, plain * 2)
    assert calls.count("wrapper") == 1
    assert calls.count("attention") > 4


def test_embedding_of_another_width_gets_a_sentence(both):
    x, c_noise, _, y = inputs(both[0])
    with pytest.raises(ValueError, match="image embedding has width 1024"):
        both[0](x, c_noise, torch.zeros(2 * T, 1, 1024), y, num_video_frames=T)


def test_orbit_model_in_video_conditioning_gets_a_sentence(load, ours, photo, video):
    for kind in ("sv3d_u", "sv3d_p"):
        orbit = load(f"{kind}.safetensors", kind=kind)
        with pytest.raises(ValueError, match="this model is SV3D"):
            video(ours, photo, model=orbit.model)


@pytest.mark.parametrize("kind", ["sv3d_u", "sv3d_p"])
def test_orbit_model_runs_in_the_hosts_own_graph(host, load, photo, kind):
    orbit = load(f"{kind}.safetensors", kind=kind)
    positive, negative, latent = host.run(
        "SV3D_Conditioning",
        clip_vision=orbit.clip_vision,
        init_image=photo,
        vae=orbit.vae,
        width=64,
        height=64,
        video_frames=3,
        elevation=10.0,
    )
    (out,) = host.run(
        "KSampler",
        model=orbit.model,
        positive=positive,
        negative=negative,
        latent_image=latent,
        seed=0,
        steps=2,
        cfg=2.5,
        sampler_name="euler",
        scheduler="karras",
        denoise=1.0,
    )
    assert out["samples"].isfinite().all()
    with pytest.raises(ValueError, match="orbit"):
        load("tiny.safetensors").model.model.extra_conds(azimuth=[0.0], noise=out["samples"], device="cpu")


def test_memory_estimate_grows_with_frames_and_stays_below_the_hosts(host, ours, native):
    few, many = (ours.model.model.memory_required([n, 4, 72, 128]) for n in (14, 28))
    assert many == 2 * few
    assert 0 < many < native.model.model.memory_required([28, 4, 72, 128])


def test_native_configuration_keys_are_those_of_host_detection(host):
    """Full-width keys and shapes through the host's detection give what `unet_keys` says."""
    from comfy import model_detection

    model = host.pack("nodes.host.model")
    unet = host.pack("svd_core.models.unet")
    config = unet.UNetConfig(320, (1, 2, 4, 4), 2, (True, True, True, False), 1024, 768)
    state = {f"u.{k}": v for k, v in unet.VideoUNet(config, device="meta").state_dict().items()}
    detected = model_detection.detect_unet_config(state, "u.")
    assert model.unet_keys(config) == detected
