"""Loading in the host: every layout, what is refused, and what is offered when nothing is installed."""

import os
import shutil

import pytest
import torch

KINDS = ("svd", "svd_image_decoder", "resaved", "diffusers", "diffusers_fp16", "diffusers_sharded")


@pytest.mark.parametrize("kind", KINDS)
def test_every_whole_layout_makes_a_video(host, load, photo, describe, video, kind):
    suffix = "" if kind.startswith("diffusers") else ".safetensors"
    trio = load(f"kind_{kind}{suffix}", kind=kind)
    conditioning = [item[0] for item in describe(trio, photo, frames=2)]
    samples = {"samples": video(trio, photo, conditioning=conditioning, steps=1)}
    frames = host.run("PureSVDDecode", vae=trio.vae, samples=samples, memory=0.0)[0]
    assert frames.shape == (2, 64, 64, 3)
    assert frames.isfinite().all()


def test_parts_may_come_from_separate_files_and_whole_checkpoints(host, make, ours):
    name = "AnimateLCM-SVD-xt.safetensors"
    folder = host.base / "models" / "diffusion_models"
    folder.mkdir(exist_ok=True)
    make(name, kind="animatelcm", preset=None)
    shutil.move(host.base / "models" / "checkpoints" / name, folder / name)
    whole = "checkpoints/tiny.safetensors"
    names = host.pack("nodes.files").parts("diffusion_models")
    assert names.index(name) < names.index(whole)
    model, clip, vae = host.run(
        "PureSVDLoadParts", unet_name=name, vae_name=whole, clip_name=whole, weight_dtype="fp32"
    )
    assert vae.preset.name == "animatelcm_svd_xt"
    mine, theirs = (unet.model.diffusion_model.state_dict() for unet in (model, ours.model))
    assert mine.keys() == theirs.keys()
    assert torch.equal(
        clip.get_sd()["visual_projection.weight"], ours.clip_vision.get_sd()["visual_projection.weight"]
    )


@pytest.mark.parametrize(
    ("choice", "dtype"),
    [
        ("fp16", torch.float16),
        ("bf16", torch.bfloat16),
        ("as stored", torch.float16),
        ("fp8_e4m3fn", torch.float8_e4m3fn),
    ],
)
def test_weight_formats_are_kept_and_cast_at_use(
    load, photo, describe, video, error, monkeypatch, host, choice, dtype
):
    monkeypatch.setattr(host.pack("svd_core.models.ops"), "runs_bfloat16", lambda: False)
    trio = load("half.safetensors", choice, dtype=torch.float16)
    assert {p.dtype for p in trio.model.model.diffusion_model.parameters()} == {dtype}
    assert trio.model.model.get_dtype_inference() == torch.float32  # as an ordinary CPU computes
    conditioning = [item[0] for item in describe(trio, photo)]
    exact = load("half.safetensors", dtype=torch.float16)
    found, wanted = (video(t, photo, conditioning=conditioning, steps=1) for t in (trio, exact))
    assert error(found, wanted) < (0.3 if choice.startswith("fp8") else 0.05)


def test_default_is_bfloat16_where_the_processor_multiplies_it(
    load, photo, describe, video, error, monkeypatch, host
):
    monkeypatch.setattr(host.pack("svd_core.models.ops"), "runs_bfloat16", lambda: True)
    trio = load("half.safetensors", "default", dtype=torch.float16)
    assert {p.dtype for p in trio.model.model.diffusion_model.parameters()} == {torch.bfloat16}
    assert trio.model.model.get_dtype_inference() == torch.bfloat16
    conditioning = [item[0] for item in describe(trio, photo)]
    exact = load("half.safetensors", dtype=torch.float16)
    found, wanted = (video(t, photo, conditioning=conditioning, steps=1) for t in (trio, exact))
    assert error(found, wanted) < 0.05  # 8 bits a rounding, one network call


@pytest.mark.parametrize(
    ("option", "kept", "computed"),
    [
        ("force_fp32", torch.float32, torch.float32),
        ("fp32_unet", torch.float32, torch.float32),
        ("fp64_unet", torch.float64, torch.float64),
        ("fp16_unet", torch.float16, torch.float32),
        ("fp8_e4m3fn_unet", torch.float8_e4m3fn, torch.float32),
        ("fp8_e5m2_unet", torch.float8_e5m2, torch.float32),
    ],
)
def test_format_named_at_the_hosts_start_is_taken_by_default(
    load, photo, describe, video, error, monkeypatch, host, option, kept, computed
):
    import comfy.cli_args
    import comfy.model_management as mm

    monkeypatch.setattr(host.pack("svd_core.models.ops"), "runs_bfloat16", lambda: True)
    monkeypatch.setattr(comfy.cli_args.args, option, True)
    monkeypatch.setattr(
        mm, "FORCE_FP32", option == "force_fp32"
    )  # the host reads this one once, at its start
    trio = load("half.safetensors", "default", dtype=torch.float16)
    assert {p.dtype for p in trio.model.model.diffusion_model.parameters()} == {kept}
    assert trio.model.model.get_dtype_inference() == computed
    conditioning = [item[0] for item in describe(trio, photo)]
    exact = load("half.safetensors", dtype=torch.float16)
    found, wanted = (video(t, photo, conditioning=conditioning, steps=1) for t in (trio, exact))
    bounds = {torch.float8_e4m3fn: 0.3, torch.float8_e5m2: 0.6}  # one bit less, twice the rounding
    assert error(found, wanted) < bounds.get(kept, 1e-3)


def test_node_overrules_the_hosts_start(load, monkeypatch, host):
    import comfy.cli_args

    monkeypatch.setattr(comfy.cli_args.args, "fp16_unet", True)
    trio = load("half.safetensors", "fp32", dtype=torch.float16)
    assert {p.dtype for p in trio.model.model.diffusion_model.parameters()} == {torch.float32}


def test_embedded_and_diffusers_names_are_listed_around_the_files(host, make, monkeypatch, tmp_path):
    files = host.pack("nodes.files")
    make("tiny.safetensors")
    folder = make("kind_diffusers", kind="diffusers")
    embedded = tmp_path / "nano.safetensors"
    embedded.write_bytes(b"")
    monkeypatch.setattr(files, "EMBEDDED_FILE", embedded)
    names = files.checkpoints()
    assert names[0] == files.EMBEDDED
    assert {"tiny.safetensors", folder} <= set(names)
    assert files.checkpoint_path(names[0]) == str(embedded)


def test_linked_folders_are_followed(host, make):
    files = host.pack("nodes.files")
    make("kind_diffusers", kind="diffusers")
    link = host.base / "models" / "diffusers" / "linked"
    try:
        os.symlink(host.base / "models" / "diffusers" / "kind_diffusers", link, target_is_directory=True)
    except OSError:
        pytest.skip("this system does not let us link")
    assert "diffusers/linked" in files.checkpoints()
    link.unlink()


def test_nothing_installed_still_registers_and_says_where_files_go(host, monkeypatch, tmp_path):
    files, load = host.pack("nodes.files"), host.pack("nodes.load")
    monkeypatch.setattr(host.folder_paths, "get_filename_list", lambda name: [])
    monkeypatch.setattr(host.folder_paths, "get_folder_paths", lambda name: [str(tmp_path / "absent")])
    monkeypatch.setattr(files, "EMBEDDED_FILE", tmp_path / "absent.safetensors")
    (choice, _) = load.PureSVDLoadCheckpoint.define_schema().inputs
    assert choice.options == [files.NO_CHECKPOINT]
    assert "models/checkpoints" in choice.tooltip
    with pytest.raises(ValueError, match=r"svd_xt\.safetensors into ComfyUI/models/checkpoints"):
        host.run("PureSVDLoadCheckpoint", ckpt_name=files.NO_CHECKPOINT, weight_dtype="default")


@pytest.mark.parametrize(
    "name", ["../../../secret.safetensors", "/etc/passwd", "diffusers/../checkpoints", "absent.safetensors"]
)
def test_names_outside_the_folders_are_refused(host, name):
    (host.base / "secret.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="no checkpoint"):
        host.pack("nodes.files").checkpoint_path(name)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("bad.ckpt", b"PK\x03\x04" + b"\0" * 64, "pickle"),
        ("page.safetensors", b"<html>" + b" " * 64, "web page"),
        ("empty.safetensors", b"", "empty|bytes"),
    ],
)
def test_other_files_get_one_sentence(host, name, content, sentence):
    (host.base / "models" / "checkpoints" / name).write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        host.run("PureSVDLoadCheckpoint", ckpt_name=name, weight_dtype="default")


def test_truncated_file_gets_one_sentence(host, make):
    folder = host.base / "models" / "checkpoints"
    whole = (folder / make("tiny.safetensors")).read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.safetensors"):
        host.run("PureSVDLoadCheckpoint", ckpt_name="cut.safetensors", weight_dtype="default")


@pytest.mark.parametrize("kind", ["unet", "vae", "clip"])
def test_single_networks_name_what_is_missing(host, make, kind):
    with pytest.raises(ValueError, match="missing"):
        host.run(
            "PureSVDLoadCheckpoint",
            ckpt_name=make(f"only_{kind}.safetensors", kind=kind),
            weight_dtype="default",
        )


def test_fingerprint_follows_the_file(host, make):
    load = host.pack("nodes.load").PureSVDLoadCheckpoint
    name = make("stamped.safetensors")
    before = load.fingerprint_inputs(name, "default")
    assert load.fingerprint_inputs(name, "default") == before
    os.utime(host.base / "models" / "checkpoints" / name, (1, 1))
    assert load.fingerprint_inputs(name, "default") != before


def test_previews_use_the_checkpoints_own_colours(host, load):
    trio = load("tiny.safetensors")
    assert len(trio.model.model.latent_format.latent_rgb_factors) == 4


@pytest.mark.parametrize(
    ("node_id", "name"),
    [
        ("PureSVDLoadCheckpoint", "ckpt_name"),
        ("PureSVDLoadParts", "unet_name"),
        ("PureSVDLoadParts", "clip_name"),
        ("PureSVDLoadLora", "lora_name"),
        ("PureSVDLoraHook", "lora_name"),
        ("PureSVDLoadControlNet", "control_net_name"),
    ],
)
def test_missing_file_turns_the_node_red_before_anything_runs(host, node_id, name):
    check = host.node(node_id).validate_inputs
    assert "gone.safetensors" in check(**{name: "gone.safetensors"})
    assert "put " in check(**{name: "gone.safetensors"})
    assert check(**{name: None}) is True, "wired in"
    assert check() is True, "left out, which the host reports itself"


def test_file_that_is_there_passes(host, make):
    check = host.node("PureSVDLoadCheckpoint").validate_inputs
    assert check(ckpt_name=make("tiny.safetensors")) is True
    assert check(ckpt_name="svd-nano (embedded)") is True


@pytest.mark.parametrize("name", [1.5, True, {"a": 1}])
def test_name_that_is_not_a_text_is_refused_before_the_run(host, name):
    files = host.pack("nodes.files")
    for path_of in (files.checkpoint_path, files.lora_path, files.controlnet_path):
        assert f"{str(name)!r}: " in files.check(path_of, name)
    assert files.check(files.checkpoint_path, None) is True  # wired in
