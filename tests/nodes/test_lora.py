"""LoRA nodes in the real host: patched weights equal merged ones, parts add up,
hooks act where they should.
"""

import pytest
import torch
from safetensors.torch import load_file, save_file

PARTS = (
    "temporal_attention",
    "spatial_attention",
    "feed_forward",
    "projections",
    "convolutions",
    "embeddings",
    "mixers",
)
U = "diffusion_model."


@pytest.mark.parametrize("node_id", ["PureSVDLoadLora", "PureSVDLoraHook"])
def test_a_constant_in_place_of_the_model_is_refused(host, node_id):
    """The host hands over what an HTTP client writes there."""
    lora = {"lora_name": "svd-nano camera left (embedded)", "strength": 1.0} | dict.fromkeys(PARTS, 1.0)
    with pytest.raises(ValueError, match="this MODEL is str, not Stable Video Diffusion; wire in"):
        host.run(node_id, model="model", **lora)


@pytest.fixture(scope="module")
def base(ours):
    return {k: v.clone() for k, v in ours.model.model.diffusion_model.state_dict().items()}


@pytest.fixture(scope="module")
def folder(host):
    made = host.base / "models" / "loras"
    made.mkdir(exist_ok=True)
    return made


@pytest.fixture(scope="module")
def lora(base, folder):
    """A LoRA over layers of every part, in diffusers names; returns its name and each tensor's change."""
    from svd_core.checkpoint.names import rename, unet_layout, unet_table

    table, g = unet_table(unet_layout(base)), torch.Generator().manual_seed(0)
    tensors, change = {}, {}
    for name, weight in base.items():
        stem = rename(name, table).removesuffix(".weight")
        if name.endswith("mix_factor"):
            tensors[f"{stem}.diff"] = change[name] = torch.full_like(weight, 0.25)
        elif weight.ndim > 1:
            down = torch.randn(2, *weight.shape[1:], generator=g) / weight[0].numel() ** 0.5
            up = torch.randn(weight.shape[0], 2, *[1] * (weight.ndim - 2), generator=g) / 4
            tensors |= {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}
            change[name] = (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
    save_file(tensors, folder / "every_part.safetensors")
    return "every_part.safetensors", change


@pytest.fixture(scope="module")
def apply(host):
    """apply(model, name, strength, **parts) -> patched model, report."""

    def run(model, name, strength=1.0, **parts):
        given = dict.fromkeys(PARTS, 1.0) | parts
        return host.run("PureSVDLoadLora", model=model, lora_name=name, strength=strength, **given)

    return run


def weights(patcher):
    """The U-Net's tensors as they are while the model is loaded, which nobody else has loaded."""
    comfy = pytest.importorskip("comfy.model_management")
    comfy.unload_all_models()
    patcher.patch_model()
    try:
        return {k: v.clone() for k, v in patcher.model.diffusion_model.state_dict().items()}
    finally:
        patcher.unpatch_model()


def differences(found, base):
    return {name: t - base[name] for name, t in found.items() if not torch.equal(t, base[name])}


def test_patched_weights_are_the_merged_ones_in_every_part(apply, ours, lora, base):
    model, report = apply(ours.model, lora[0], 0.5)
    found = differences(weights(model), base)
    assert found.keys() == lora[1].keys()
    assert all(torch.allclose(found[name], 0.5 * change, atol=1e-6) for name, change in lora[1].items())
    assert report.count("\n") >= len(PARTS) - 1
    assert not differences(weights(ours.model), base), "the model given was changed"


def test_strength_zero_leaves_every_bit(apply, ours, lora, base):
    assert not apply(ours.model, lora[0], 0.0)[0].patches
    assert not apply(ours.model, lora[0], 1.0, **dict.fromkeys(PARTS, 0.0))[0].patches


def test_parts_have_strengths_of_their_own_and_add_up(apply, ours, lora, base):
    total = {}
    for part in PARTS:
        found = differences(
            weights(apply(ours.model, lora[0], 2.0, **dict.fromkeys(PARTS, 0.0) | {part: -0.25})[0]), base
        )
        assert found
        assert not total.keys() & found.keys(), "parts overlap"
        total |= found
    assert total.keys() == lora[1].keys()
    assert all(torch.allclose(total[name], -0.5 * change, atol=1e-6) for name, change in lora[1].items())


def test_two_files_add_up(apply, ours, lora, base):
    model, _ = apply(ours.model, lora[0], 0.5)
    found = differences(weights(apply(model, lora[0], 0.25)[0]), base)
    assert all(torch.allclose(found[name], 0.75 * change, atol=1e-6) for name, change in lora[1].items())


@pytest.mark.parametrize(
    ("writer", "kind"),
    [
        ("peft", "lora"),
        ("peft", "patterns"),
        ("peft", "bias"),
        ("peft", "dora"),
        ("peft", "loha_tucker"),
        ("peft", "lokr_factored"),
        ("diffusers", "lora"),
        ("kohya", "lora"),
    ],
)
def test_files_of_peft_and_diffusers_become_the_weights_they_merge(apply, ours, folder, base, writer, kind):
    pytest.importorskip("peft")
    from tests import lora_files

    config = ours.model.model.diffusion_model.config
    written = lora_files.write(folder / f"{writer}_{kind}", base, config, kind=kind, writer=writer)
    model, _ = apply(ours.model, written.path.relative_to(folder).as_posix())
    found = weights(model)
    assert differences(found, base).keys() == differences(written.merged, base).keys()
    for name, merged in written.merged.items():
        scale = max(1.0, float(merged.abs().max()))
        assert (found[name] - merged).abs().max() < 1e-6 * scale, name


def test_rewritten_file_is_taken_whole_by_the_hosts_own_loaders(host, ours, lora, folder, base):
    adapters = host.pack("svd_core.adapters.__main__")
    checkpoint = host.base / "models" / "checkpoints" / "tiny.safetensors"
    (folder / "rewritten.safetensors").unlink(missing_ok=True)
    adapters.convert(folder / lora[0], folder / "rewritten.safetensors", checkpoint)
    given = dict(model=ours.model, lora_name="rewritten.safetensors", strength_model=0.5)
    (model,) = host.run("LoraLoaderModelOnly", **given)
    found = differences(weights(model), base)
    assert found.keys() == lora[1].keys()
    assert all(torch.allclose(found[name], 0.5 * change, atol=1e-6) for name, change in lora[1].items())
    before = host.run("LoraLoaderModelOnly", **given | {"lora_name": lora[0]})[0]
    assert len(before.patches) < len(lora[1]), "the host takes the original whole by now"


@pytest.fixture(scope="module")
def described(ours, photo, describe):
    return [item[0] for item in describe(ours, photo)]


@pytest.fixture(scope="module")
def sampled(host, described):
    """sampled(model, first step, last step, latent, hooks) -> latent of the native sampler, of 4 steps."""

    def run(model, start=0, end=4, latent=None, hooks=None):
        positive, negative, empty = described
        if hooks is not None:
            positive, negative = host.run(
                "PairConditioningSetProperties",
                positive_NEW=positive,
                negative_NEW=negative,
                strength=1.0,
                set_cond_area="default",
                hooks=hooks,
            )
        return host.run(
            "KSamplerAdvanced",
            model=model,
            add_noise="enable" if latent is None else "disable",
            noise_seed=3,
            steps=4,
            cfg=2.0,
            sampler_name="euler",
            scheduler="karras",
            positive=positive,
            negative=negative,
            latent_image=latent or empty,
            start_at_step=start,
            end_at_step=end,
            return_with_leftover_noise="enable" if end < 4 else "disable",
        )[0]

    return run


@pytest.fixture(scope="module")
def hook(host, ours, lora):
    return host.run(
        "PureSVDLoraHook", model=ours.model, lora_name=lora[0], strength=0.5, **dict.fromkeys(PARTS, 1.0)
    )[0]


def test_hooks_equal_the_patched_model(apply, ours, lora, hook, sampled, error):
    wanted = sampled(apply(ours.model, lora[0], 0.5)[0])["samples"]
    assert error(sampled(ours.model, hooks=hook)["samples"], wanted) < 1e-5
    assert error(sampled(ours.model)["samples"], wanted) > 1e-2


def test_scheduled_hooks_equal_the_patched_model_in_their_steps(
    host, apply, ours, lora, hook, sampled, error
):
    """Two of four steps with the LoRA, two without: the Karras levels of steps 0 to 3."""
    keys, sampling = None, ours.model.model.model_sampling
    sigmas = host.run("BasicScheduler", model=ours.model, scheduler="karras", steps=4, denoise=1.0)[0]
    middle = float((sigmas[1] * sigmas[2]).sqrt())
    low, high = 0.0, 1.0  # percent of the noise range at which the level is `middle`
    for _ in range(40):
        percent = (low + high) / 2
        low, high = (percent, high) if sampling.percent_to_sigma(percent) > middle else (low, percent)
    for strength, start in ((1.0, 0.0), (0.0, percent)):
        (keys,) = host.run(
            "CreateHookKeyframe", strength_mult=strength, start_percent=start, prev_hook_kf=keys
        )
    (scheduled,) = host.run("SetHookKeyframes", hooks=hook, hook_kf=keys)
    half = sampled(apply(ours.model, lora[0], 0.5)[0], 0, 2)
    wanted = sampled(ours.model, 2, 4, latent=half)["samples"]
    found = sampled(ours.model, hooks=scheduled)["samples"]
    assert error(found, wanted) < 1e-4
    assert error(found, sampled(ours.model)["samples"]) > 1e-3
    assert error(found, sampled(ours.model, hooks=hook)["samples"]) > 1e-3


def test_hooks_join_earlier_ones(host, ours, lora, hook, sampled, apply, error):
    given = dict(model=ours.model, lora_name=lora[0], strength=0.25, **dict.fromkeys(PARTS, 1.0))
    both, report = host.run("PureSVDLoraHook", **given, prev_hooks=hook)
    assert len(both) == 2 * len(hook)
    assert "temporal attention" in report
    wanted = sampled(apply(ours.model, lora[0], 0.75)[0])["samples"]
    assert error(sampled(ours.model, hooks=both)["samples"], wanted) < 1e-5


def test_saved_checkpoint_holds_the_merged_weights(host, apply, ours, lora, base):
    model, _ = apply(ours.model, lora[0], 0.5)
    host.node("ImageOnlyCheckpointSave")().save(model, ours.clip_vision, ours.vae, "checkpoints/with_lora")
    path = host.base / "output" / "checkpoints" / "with_lora_00001_.safetensors"
    saved = {
        k.removeprefix("model." + U): v for k, v in load_file(path).items() if k.startswith("model." + U)
    }
    found = {name: saved[name].float() - base[name] for name in lora[1]}
    assert all(torch.allclose(found[name], 0.5 * change, atol=2e-3) for name, change in lora[1].items())
    path.unlink()


def test_a_model_that_is_loaded_with_another_lora_is_measured_without_it(host, apply, ours, lora, base):
    model, told = apply(ours.model, lora[0], 1.0)
    model.patch_model()
    try:
        assert apply(ours.model, lora[0], 1.0)[1] == told
    finally:
        model.unpatch_model()


def test_files_that_do_not_fit_are_refused_by_the_node(host, apply, ours, folder):
    save_file({"lora_te_x.lora_up.weight": torch.ones(1)}, folder / "text.safetensors")
    with pytest.raises(ValueError, match=r"text\.safetensors holds text encoder layers"):
        apply(ours.model, "text.safetensors")
    with pytest.raises(ValueError, match="no LoRA 'gone.safetensors'"):
        apply(ours.model, "gone.safetensors")
    with pytest.raises(ValueError, match="strength is nan"):
        apply(ours.model, "text.safetensors", float("nan"))


def test_bypass_mode_equals_the_patched_model(host, apply, ours, lora, folder, sampled, error):
    """The host's own bypass loader, on linear layers of a file rewritten for it: factors beside the layers.

    Its bypass of a convolution over time takes five axes, which ours does not.
    """
    adapters = host.pack("svd_core.adapters.__main__")
    checkpoint = host.base / "models" / "checkpoints" / "tiny.safetensors"
    for name in ("bypass.safetensors", "linear.safetensors"):
        (folder / name).unlink(missing_ok=True)
    adapters.convert(folder / lora[0], folder / "bypass.safetensors", checkpoint)
    tensors = load_file(folder / "bypass.safetensors")
    flat = [k.removesuffix(".lora_up.weight") for k, t in tensors.items() if "lora_up" in k and t.ndim == 2]
    linear = {k: t for k, t in tensors.items() if k.startswith(tuple(f"{name}." for name in flat))}
    save_file(linear, folder / "linear.safetensors")
    (model,) = host.run("LoraModelLoader", model=ours.model, lora=linear, strength_model=0.5, bypass=True)
    assert not model.patches, "it merges"
    wanted = sampled(apply(ours.model, "linear.safetensors", 0.5)[0])["samples"]
    assert error(sampled(model)["samples"], wanted) < 1e-4
    assert error(sampled(ours.model)["samples"], wanted) > 1e-2


def test_low_memory_mode_equals_the_patched_model(apply, ours, lora, error):
    """Weights that stay where they are and get their change when a layer runs, as on a small GPU."""
    management = pytest.importorskip("comfy.model_management")
    model, _ = apply(ours.model, lora[0], 0.5)
    network, g = model.model.diffusion_model, torch.Generator().manual_seed(0)
    given = [torch.randn(3, 8, 8, 8, generator=g), torch.full((3,), 0.3)]
    given += [torch.randn(3, 1, network.config.context_dim, generator=g), torch.randn(3, 768, generator=g)]
    found = []
    for memory in (0, 1):  # bytes of weights that may be loaded; 0 is all
        management.unload_all_models()
        model.patch_model(lowvram_model_memory=memory)
        late = [m for m in network.modules() if getattr(m, "weight_function", None)]
        try:
            found.append(network(*given, num_video_frames=3))
        finally:
            model.unpatch_model()
        assert bool(late) is bool(memory), "the mode meant is not the one that ran"
    assert error(found[1], found[0]) < 1e-5
    assert error(network(*given, num_video_frames=3), found[0]) > 1e-3
