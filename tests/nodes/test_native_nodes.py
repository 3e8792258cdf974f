"""Native model nodes on our MODEL, and checkpoints that native nodes save."""

import pytest
import torch
from safetensors.torch import load_file, save_file


@pytest.fixture(scope="module")
def conditioning(ours, photo, describe):
    return [item[0] for item in describe(ours, photo)]


@pytest.fixture(scope="module")
def sampled(host, conditioning):
    """sampled(model) -> latent of the native sampler, 2 steps."""

    def run(model, positive=None, negative=None):
        (out,) = host.run(
            "KSampler",
            model=model,
            positive=positive or conditioning[0],
            negative=negative or conditioning[1],
            latent_image=conditioning[2],
            seed=3,
            steps=2,
            cfg=2.0,
            sampler_name="euler",
            scheduler="karras",
            denoise=1.0,
        )
        return out["samples"]

    return run


@pytest.fixture(scope="module")
def lora(host, ours):
    """A LoRA file in single-file names over attention of space and time."""
    state, tensors, g = ours.model.model.diffusion_model.state_dict(), {}, torch.Generator().manual_seed(0)
    for name, weight in state.items():
        if name.endswith(("attn1.to_q.weight", "attn1.to_v.weight", "attn2.to_v.weight")):
            stem = f"lora_unet_{name.removesuffix('.weight').replace('.', '_')}"
            tensors[f"{stem}.lora_up.weight"] = torch.randn(len(weight), 4, generator=g)
            tensors[f"{stem}.lora_down.weight"] = torch.randn(4, weight.shape[1], generator=g) / 8
    folder = host.base / "models" / "loras"
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "tiny_lora.safetensors")
    return "tiny_lora.safetensors", tensors


def test_lora_patches_every_layer_it_names(host, ours, native, sampled, lora, error):
    name, tensors = lora
    found, wanted = (
        host.run("LoraLoaderModelOnly", model=trio.model, lora_name=name, strength_model=0.7)[0]
        for trio in (ours, native)
    )
    assert len(found.patches) == len(tensors) // 2
    assert found.patches.keys() == wanted.patches.keys()
    plain = sampled(ours.model)
    before = {k: v.clone() for k, v in ours.model.model.state_dict().items()}
    patched = sampled(found)
    assert error(patched, sampled(wanted)) < 1e-4
    assert error(patched, plain) > 1e-2
    sampled(ours.model)
    assert all(torch.equal(v, before[k]) for k, v in ours.model.model.state_dict().items()), (
        "it must not stay"
    )


def test_lora_as_a_hook_acts_on_its_conditioning(host, ours, native, sampled, conditioning, lora, error):
    (hooks,) = host.run("CreateHookLora", lora_name=lora[0], strength_model=0.7, strength_clip=0.0)
    positive, negative = host.run(
        "PairConditioningSetProperties",
        positive_NEW=conditioning[0],
        negative_NEW=conditioning[1],
        strength=1.0,
        set_cond_area="default",
        hooks=hooks,
    )
    patched = sampled(ours.model, positive, negative)
    assert error(patched, sampled(native.model, positive, negative)) < 1e-4
    assert error(patched, sampled(ours.model)) > 1e-2


@pytest.mark.parametrize(
    ("node", "options"),
    [
        ("FreeU_V2", dict(b1=1.3, b2=1.4, s1=0.9, s2=0.2)),
        ("ModelSamplingContinuousEDM", dict(sampling="v_prediction", sigma_max=120.0, sigma_min=0.01)),
        ("PerturbedAttentionGuidance", dict(scale=3.0)),
        ("RescaleCFG", dict(multiplier=0.7)),
        ("HyperTile", dict(tile_size=32, swap_size=2, max_depth=0, scale_depth=False)),
        ("TomePatchModel", dict(ratio=0.3)),
    ],
)
def test_model_patches_give_the_hosts_result(host, ours, native, sampled, error, node, options):
    found, wanted = (sampled(host.run(node, model=trio.model, **options)[0]) for trio in (ours, native))
    assert error(found, wanted) < 1e-4
    assert error(found, sampled(ours.model)) > 1e-4


@pytest.mark.slow  # compiles the network
def test_compiled_model_gives_the_same_result(host, ours, sampled, error):
    (compiled,) = host.run("TorchCompileModel", model=ours.model, backend="inductor")
    assert error(sampled(compiled), sampled(ours.model)) < 1e-4


def saved(host, trio, name):
    save = host.node("ImageOnlyCheckpointSave")()
    save.save(trio.model, trio.clip_vision, trio.vae, f"checkpoints/{name}")
    made = host.base / "output" / "checkpoints" / f"{name}_00001_.safetensors"
    return made.rename(host.base / "models" / "checkpoints" / f"{name}.safetensors")


@pytest.mark.parametrize("kind", ["svd", "svd_image_decoder", "sv3d_u"])
def test_saved_checkpoint_loads_again_with_the_same_result(host, load, photo, describe, kind, error):
    trio = load(f"kind_{kind}.safetensors", kind=kind)
    path = saved(host, trio, f"again_{kind}")
    again = load(path.name)
    assert again.vae.preset == trio.vae.preset
    for before, after in zip(
        trio.model.model.diffusion_model.parameters(), again.model.model.diffusion_model.parameters()
    ):
        assert torch.equal(before, after)
    latents = [describe(t, photo)[0][0][0] for t in (trio, again)]
    assert torch.equal(latents[0][0], latents[1][0])
    # quant_conv is folded into the encoder's last convolution, equal but for rounding
    assert error(latents[1][1]["concat_latent_image"], latents[0][1]["concat_latent_image"]) < 1e-5
    z = {"samples": torch.randn(3, 4, 8, 8)}
    frames = [host.run("PureSVDDecode", vae=t.vae, samples=z, memory=0.0)[0] for t in (trio, again)]
    assert torch.equal(*frames)


def test_saved_names_are_those_a_native_loader_looks_for(host, load):
    names = load_file(saved(host, load("tiny.safetensors"), "names")).keys()
    prefixes = (
        "model.diffusion_model.",
        "first_stage_model.encoder.",
        "first_stage_model.decoder.",
        "conditioner.embedders.0.open_clip.model.visual.vision_model.",
    )
    for prefix in prefixes:
        assert any(name.startswith(prefix) for name in names), prefix
    assert {"edm_vpred.sigma_max", "puresvd"} <= set(names)
    assert not [name for name in names if "quant_conv" in name or "embedder." in name]


def test_reload_factories_give_fresh_patchers_of_the_same_weights(ours):
    for patcher in (ours.model, ours.clip_vision.patcher, ours.vae.patcher):
        make, arguments = patcher.cached_patcher_init
        fresh = make(*arguments, disable_dynamic=True)
        assert fresh.model is not patcher.model
        for before, after in zip(patcher.model.parameters(), fresh.model.parameters()):
            assert torch.equal(before, after)


def test_weights_are_visible_to_the_hosts_memory_management(ours):
    from comfy.model_patcher import ModelPatcher

    for owner in (ours.clip_vision, ours.vae):
        assert isinstance(owner.patcher, ModelPatcher)
    assert isinstance(ours.model, ModelPatcher)
