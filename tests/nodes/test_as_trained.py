"""What the checkpoint's preset decides on untouched nodes, what is assumed without one,
and where sampling starts.
"""

import pytest
import torch
from safetensors.torch import save_file

SILENT = dict(steps=0, curve="as trained", schedule="as trained", sampler="as trained")
NAMES = {
    "svd": "svd",
    "svd_xt": "svd_xt",
    "svd_xt_1_1": "svd_xt_1_1",
    "AnimateLCM-SVD-xt": "animatelcm_svd_xt",
}


def counted(model):
    """A clone and the list of the levels at which its network is asked."""
    levels, clone = [], model.clone()

    def run(forward, args):
        levels.append(float(args["timestep"][0]))
        return forward(args["input"], args["timestep"], **args["c"])

    clone.set_model_unet_function_wrapper(run)
    return clone, levels


def spoken(preset):
    return {
        name: getattr(preset, name)
        for name in ("steps", "min_cfg", "max_cfg", "curve", "schedule", "sampler")
    }


@pytest.fixture(scope="module")
def lora(host, ours):
    name = "diffusion_model.input_blocks.0.0.weight"
    out, inside = ours.model.model.state_dict()[name].shape[:2]
    tensors = {
        "lora_unet_input_blocks_0_0.lora_up.weight": torch.randn(out, 2, 1, 1),
        "lora_unet_input_blocks_0_0.lora_down.weight": torch.randn(2, inside, 3, 3) / 8,
    }
    folder = host.base / "models" / "loras"
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "first.safetensors")
    return "first.safetensors"


@pytest.mark.parametrize("name", NAMES)
def test_untouched_nodes_sample_as_the_checkpoint_was_trained(host, load, photo, describe, video, name):
    trio = load(f"{name}.safetensors", preset=None)
    preset = host.pack("svd_core.checkpoint.presets").PRESETS[NAMES[name]]
    assert trio.model.model.preset == trio.vae.preset == trio.clip_vision.preset == preset
    conditioning = [item[0] for item in describe(trio, photo, frames=2)]
    model, levels = counted(trio.model)
    found = video(trio, photo, model=model, conditioning=conditioning, **SILENT)
    assert len(levels) == preset.steps  # both passes of a step are one batch
    assert torch.equal(found, video(trio, photo, conditioning=conditioning, **spoken(preset)))


def test_embedded_checkpoint_is_sampled_without_guidance(host):
    model, clip_vision, vae = host.run(
        "PureSVDLoadCheckpoint", ckpt_name="svd-nano (embedded)", weight_dtype="fp32"
    )
    preset = model.model.preset
    scales = host.pack("nodes.widgets").frame_scales(preset, 1.0, 2.5, "as trained")
    assert preset.name == clip_vision.preset.name == vae.preset.name == "svd_nano"
    assert (scales(preset.frames) == 1).all()


def test_preset_passes_through_clones_lora_and_saved_files(host, load, lora, tmp_path):
    trio = load("svd_xt_1_1.safetensors", preset=None)
    (patched,) = host.run("LoraLoaderModelOnly", model=trio.model.clone(), lora_name=lora, strength_model=0.5)
    assert len(patched.patches) == 1
    (patched,) = host.run("FreeU_V2", model=patched, b1=1.1, b2=1.2, s1=0.9, s2=0.2)
    carried = host.pack("nodes.host.trained").carried
    assert carried(patched).name == "svd_xt_1_1"
    host.node("ImageOnlyCheckpointSave")().save(patched, trio.clip_vision, trio.vae, "checkpoints/mine")
    made = host.base / "output" / "checkpoints" / "mine_00001_.safetensors"
    again = load(made.rename(host.base / "models" / "checkpoints" / "mine.safetensors").name)
    assert {carried(socket) for socket in (again.model, again.clip_vision, again.vae)} == {carried(patched)}


RELEASED = {  # file: steps, schedule, sampler, guidance of the first and the last frame, frames, size, fps
    "svd.safetensors": (25, "karras", "euler", 1.0, 2.5, 14, (1024, 576), 7),
    "svd_xt.safetensors": (30, "karras", "euler", 1.5, 3.0, 25, (1024, 576), 7),
    "svd_xt_1_1.safetensors": (30, "karras", "euler", 1.5, 3.0, 25, (1024, 576), 7),
    "AnimateLCM-SVD-xt-1.1.safetensors": (4, "consistency", "lcm", 1.0, 1.2, 25, (1024, 576), 7),
    "svd-nano (embedded)": (6, "ays", "euler", 1.0, 1.0, 14, (256, 256), 7),
}


@pytest.fixture
def reached(host, monkeypatch, describe, photo):
    """reached(trio) -> what arrives at the sampler of an untouched graph; nothing is sampled."""
    guider = host.pack("nodes.host.guider")
    seen = {}

    def sample(made, latent, method, levels, seed, callback=None):
        seen.update(levels=levels, scales=made.scales)
        return latent

    def run(trio):
        with monkeypatch.context() as spied:
            spied.setattr(guider, "sample", sample)
            spied.setattr(guider, "sampler", lambda function: seen.update(method=function.__name__))
            conditioning = [found[0] for found in describe(trio, photo, frames=0)]
            given = dict(zip(("positive", "negative", "latent"), conditioning))
            host.run("PureSVDSample", model=trio.model, seed=3, min_cfg=1.0, max_cfg=2.5, **given, **SILENT)
        t = len(conditioning[2]["samples"])
        scales = seen["scales"](t)
        preset = host.pack("nodes.host.trained").of_video(trio.vae, trio.clip_vision)[0]
        size, ends = (preset.width, preset.height), [round(float(scales[i]), 6) for i in (0, -1)]
        return seen["levels"], (seen["method"], *ends, t, size, preset.fps)

    return run


def patched_by(host, trio, loader, lora_name):
    """The same with a LoRA, by the host's loader or ours."""
    strengths = {"strength_model": 0.5}
    if loader == "PureSVDLoadLora":
        inputs = host.node(loader).define_schema().inputs
        strengths = {made.id: made.default for made in inputs if made.get_io_type() == "FLOAT"}
    model = host.run(loader, model=trio.model.clone(), lora_name=lora_name, **strengths)[0]
    assert model.patches
    return type(trio)(model, trio.clip_vision, trio.vae)


@pytest.mark.parametrize(
    "name",
    [next(iter(RELEASED)), *(pytest.param(name, marks=pytest.mark.slow) for name in list(RELEASED)[1:])],
)
def test_trained_values_reach_the_sampler_on_every_path(host, load, lora, reached, name):
    """Straight from the loader, through a clone, either LoRA loader, and a file that the host saved."""
    steps, schedule, *wanted = RELEASED[name]
    levels = host.pack("svd_core.sampling.noise_levels").SCHEDULES[schedule](steps)
    embedded = "embedded" in name
    if embedded:
        straight = load("tiny.safetensors")
        straight = type(straight)(*host.run("PureSVDLoadCheckpoint", ckpt_name=name, weight_dtype="fp32"))
    else:
        straight = load(name, preset=None)
    own = "svd-nano camera left (embedded)" if embedded else lora
    paths = {"straight": straight, "LoRA": patched_by(host, straight, "PureSVDLoadLora", own)}
    paths["clone"] = type(straight)(straight.model.clone(), straight.clip_vision, straight.vae)
    if not embedded:
        paths["host's LoRA"] = patched_by(host, straight, "LoraLoaderModelOnly", lora)
    stem = f"saved {len(name)}"
    host.node("ImageOnlyCheckpointSave")().save(*vars(straight).values(), stem)
    made = host.base / "output" / f"{stem}_00001_.safetensors"
    paths["saved"] = load(made.rename(host.base / "models" / "checkpoints" / f"{stem}.safetensors").name)
    for path, trio in paths.items():
        found, told = reached(trio)
        assert torch.equal(found, levels), path
        assert told == tuple(wanted), path


@pytest.mark.slow
def test_animatelcm_as_parts_keeps_its_own_sampling(host, make, reached, load):
    """Its file is a U-Net; VAE and image encoder are svd_xt's, and so is what they were trained for."""
    unet, whole = (
        make("AnimateLCM-SVD-xt-1.1.safetensors", preset=None),
        make("svd_xt.safetensors", preset=None),
    )
    names = {"unet_name": unet, "vae_name": whole, "clip_name": whole}
    names = {name: f"checkpoints/{file}" for name, file in names.items()}
    trio = type(load("tiny.safetensors"))(*host.run("PureSVDLoadParts", **names, weight_dtype="fp32"))
    found, told = reached(trio)
    assert torch.equal(found, host.pack("svd_core.sampling.noise_levels").SCHEDULES["consistency"](4))
    assert told == ("lcm", 1.0, 1.2, 25, (1024, 576), 7)


def test_stored_values_mean_what_they_meant(host, ours):
    widgets = host.pack("nodes.widgets")
    preset = ours.model.model.preset
    assert widgets.chosen(preset, steps=3, schedule="ays", sampler="heun") == [3, "ays", "heun"]
    kept = widgets.frame_scales(preset, 1.25, 4.0, "triangle")(5)
    assert torch.equal(kept, host.pack("svd_core.sampling.guidance").triangle(1.25, 4.0, 5))


def test_unknown_checkpoints_say_what_was_assumed(host, ours, native, photo, describe, video, caplog):
    latent = describe(native, photo, frames=0)[2][0]["samples"]
    assert latent.shape[0] == 14
    assert "0 means as svd, 14 frames of 1024x576 at 7 fps" in caplog.text
    conditioning = [item[0] for item in describe(ours, photo, frames=2)]
    caplog.clear()
    video(native, photo, conditioning=conditioning, steps=1, sampler="as trained")
    assert "as svd, 25 steps, karras, euler, guidance linear 1 to 2.5" in caplog.text
    caplog.clear()
    video(native, photo, conditioning=conditioning, steps=1)
    video(ours, photo, conditioning=conditioning, steps=1, sampler="as trained")
    assert "as svd" not in caplog.text


def test_clip_vision_speaks_for_a_native_vae(native, load, photo, describe):
    trio = load("svd_xt.safetensors", preset=None)
    trio = type(trio)(trio.model, trio.clip_vision, native.vae)
    assert describe(trio, photo, frames=0)[2][0]["samples"].shape[0] == 25


def test_replaced_guidance_is_said_in_the_result(host, ours, photo, describe):
    positive, negative, _ = (item[0] for item in describe(ours, photo, frames=2))
    (patched,) = host.run("VideoLinearCFGGuidance", model=ours.model, min_cfg=1.0)
    given = dict(positive=positive, negative=negative, min_cfg=1.0, max_cfg=2.5, curve="linear")
    node = host.node("PureSVDGuider")
    assert "replaced by the guidance chosen here" in node.execute(model=patched, **given).ui["text"][0]
    assert "text" not in node.execute(model=ours.model, **given).ui


def test_fps_of_the_photo_is_given_out(host, ours, photo):
    given = dict(width=64, height=64, frames=2, motion_bucket_id=127, augmentation_level=0.0, seed=0)
    given |= dict(clip_vision=ours.clip_vision, vae=ours.vae, fit="crop", compatibility="reference")
    for asked, wanted in ((0, ours.vae.preset.fps), (12, 12)):
        fps = host.run("PureSVDImageToVideo", image=photo, fps=asked, **given)[3]
        assert fps == wanted
        assert type(fps) is float


def test_levels_know_the_model_and_the_latent(host, load):
    trio = load("svd_xt.safetensors", preset=None)
    given = dict(schedule="as trained", steps=0, sigma_max=700.0, sigma_min=0.002, rho=7.0, denoise=1.0)
    karras = host.pack("svd_core.sampling.noise_levels").karras
    assert torch.equal(host.run("PureSVDSigmas", **given)[0], karras(25))
    assert torch.equal(host.run("PureSVDSigmas", model=trio.model, **given)[0], karras(30))
    latent = {"samples": torch.zeros(2, 4, 8, 8), "start_level": 90.0}
    lower = host.run("PureSVDSigmas", model=trio.model, latent=latent, **given)[0]
    assert torch.equal(lower, karras(30, sigma_max=90.0))


@pytest.mark.parametrize("schedule", ["karras", "ays", "exponential", "consistency"])
def test_sampling_starts_where_the_latent_says(host, ours, photo, describe, video, schedule):
    positive, negative, latent = (item[0] for item in describe(ours, photo, frames=2))
    latent = {
        "samples": torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1)),
        "start_level": 60.0,
    }
    model, levels = counted(ours.model)
    given = dict(positive=positive, negative=negative, latent=latent)
    choice = dict(steps=2, min_cfg=1.0, max_cfg=1.0, curve="constant", schedule=schedule, sampler="euler")
    (out,) = host.run("PureSVDSample", model=model, seed=3, **given, **choice)
    assert levels[0] == pytest.approx(60.0, rel=0.2 if schedule == "consistency" else 1e-3)
    assert "start_level" not in out
    (sigmas,) = host.run(
        "PureSVDSigmas",
        schedule=schedule,
        steps=2,
        sigma_max=700.0,
        sigma_min=0.002,
        rho=7.0,
        denoise=1.0,
        latent=latent,
    )
    (guider,) = host.run(
        "PureSVDGuider",
        model=ours.model,
        positive=positive,
        negative=negative,
        min_cfg=1.0,
        max_cfg=1.0,
        curve="constant",
    )
    (noise,), (method,) = (
        host.run("RandomNoise", noise_seed=3),
        host.run("KSamplerSelect", sampler_name="euler"),
    )
    custom = dict(noise=noise, guider=guider, sampler=method, sigmas=sigmas, latent_image=latent)
    wanted = host.run("SamplerCustomAdvanced", **custom)[0]["samples"]
    torch.testing.assert_close(out["samples"], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("level", [float("nan"), 0.0, -3.0, 0.001])
def test_absurd_start_levels_get_one_sentence(host, level):
    widgets = host.pack("nodes.widgets")
    with pytest.raises(ValueError, match="start_level is nan|start level"):
        widgets.noise_levels("karras", 3, start=widgets.start_level({"start_level": level}))
