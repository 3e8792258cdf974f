"""Incomplete and foreign checkpoints are refused by name, with the count and the remedy."""

import dataclasses
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from svd_core.checkpoint.header import open_tensors
from svd_core.checkpoint.load import load
from svd_core.checkpoint.presets import to_tensor
from svd_core.checkpoint.read import read, read_parts
from svd_core.checkpoint.write import write_safetensors
from tests.make_checkpoint import (
    FIRST,
    TEXT,
    UNET,
    VISUAL,
    Maker,
    clip_config,
    unet_config,
    vae_config,
    write_checkpoint,
)

EMBEDDER = "conditioner.embedders.3.encoder."
SMALL = Maker(
    unet=unet_config(channel_mult=(1,), attention_levels=(True,)),
    vae=vae_config(ch_mult=(1,)),
    clip=clip_config(layers=1),
)
COMPLETE = SMALL.single_file("svd") | {"puresvd": to_tensor(SMALL.hints())}
SPARE = (EMBEDDER + "decoder", EMBEDDER + "post", "puresvd")
NEEDED = [n for n in COMPLETE if n.startswith(VISUAL) or not n.startswith((TEXT, *SPARE))]
MARKED = (
    "conv_in.weight",
    "label_emb.0.0",
    "input_blocks.0",
    "out.2",
    "visual.proj",
    "embedding",
    "quant_conv.w",
)
CHOSEN = [name for i, name in enumerate(NEEDED) if i % 25 == 0 or any(mark in name for mark in MARKED)]


def refusal(tensors, path="svd.safetensors"):
    with pytest.raises(ValueError) as caught:  # noqa: PT011, the sentence is checked by the caller
        read(path, tensors=tensors)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_unchanged_file_is_whole():
    assert load(read("svd.safetensors", tensors=COMPLETE)).report.unknown == []


SIZED = {  # tensors whose shape is what the whole network is measured by, and what is said of that size
    "label_emb.0.0.weight": "takes 771 conditioning values",
    "model.diffusion_model.out.2.weight": "takes 8 channels and gives 7",
    "input_blocks.0.0.weight": "takes 11 channels and gives 4",
}


@pytest.mark.parametrize("part", range(4))
def test_any_missing_or_misshapen_tensor_is_named(part):
    """Every twenty-fifth tensor, and those that sizes are read from."""
    for name in CHOSEN[part::4]:
        lacking = {key: tensor for key, tensor in COMPLETE.items() if key != name}
        assert name in refusal(lacking), f"{name} was missing"
        wrong = COMPLETE | {name: torch.zeros([n + 3 for n in COMPLETE[name].shape], dtype=torch.float16)}
        sentence = refusal(wrong)
        told = next((said for end, said in SIZED.items() if name.endswith(end)), name)
        assert told in sentence, f"{name} was misshapen: {sentence}"


def test_missing_tensors_are_counted_and_the_first_few_named():
    lacking = {name: t for name, t in COMPLETE.items() if "transformer_blocks" not in name}
    sentence = refusal(lacking)
    missing = len(COMPLETE) - len(lacking)
    assert f"{missing} of its" in sentence
    assert sentence.count("transformer_blocks") == 4


def test_missing_tensors_of_a_folder_are_named_as_the_folder_names_them(tmp_path):
    folder = write_checkpoint(tmp_path / "folder", kind="diffusers")
    for part, file, name in (
        ("unet", "diffusion_pytorch_model", "down_blocks.0.attentions.0.proj_in.weight"),
        ("vae", "diffusion_pytorch_model", "decoder.mid_block.attentions.0.to_q.weight"),
        ("vae", "diffusion_pytorch_model", "quant_conv.bias"),
        ("image_encoder", "model", "vision_model.encoder.layers.1.mlp.fc1.weight"),
    ):
        path = folder / part / f"{file}.safetensors"
        tensors, _ = open_tensors(path)
        write_safetensors(path, {key: t.clone() for key, t in tensors.items() if key != name})
        with pytest.raises(ValueError, match=name):
            read(folder)
        write_safetensors(path, tensors)


def zeros(*names):
    return {name: torch.zeros(4, 4) for name in names}


FOREIGN = {
    "sd15": (
        zeros(
            UNET + "input_blocks.0.0.weight",
            "cond_stage_model.transformer.text_model.x",
            FIRST + "encoder.conv_in.weight",
        ),
        "a Stable Diffusion 1 checkpoint",
    ),
    "sd2": (
        zeros(UNET + "input_blocks.0.0.weight", "cond_stage_model.model.transformer.x"),
        "a Stable Diffusion 2 checkpoint",
    ),
    "sdxl": (
        zeros(
            UNET + "input_blocks.0.0.weight",
            "conditioner.embedders.0.transformer.x",
            "conditioner.embedders.1.model.x",
        ),
        "an SDXL checkpoint",
    ),
    "sdxl_refiner": (
        zeros(UNET + "input_blocks.0.0.weight", "conditioner.embedders.0.model.x"),
        "an SDXL refiner",
    ),
    "sd15_unet": (zeros("down_blocks.0.resnets.0.conv1.weight", "conv_in.weight"), "an image U-Net"),
    "sd15_unet_single": (zeros("input_blocks.0.0.weight", "out.2.weight"), "an image U-Net"),
    "lora_kohya": (zeros("lora_unet_input_blocks_1_1_time_stack_0_attn1_to_q.lora_down.weight"), "a LoRA"),
    "lora_peft": (
        zeros("unet.down_blocks.0.temporal_transformer_blocks.0.attn1.to_q.lora_A.weight"),
        "a LoRA",
    ),
    "lora_old": (zeros("down_blocks.0.attn1.processor.to_q_lora.down.weight"), "a LoRA"),
    "controlnet": (zeros("control_model.input_blocks.0.0.weight"), "a ControlNet"),
    "controlnet_svd": (
        zeros("controlnet_cond_embedding.conv_in.weight", "down_blocks.0.temporal_transformer_blocks.0.x"),
        "a ControlNet",
    ),
    "sv4d": (
        zeros(UNET + "input_blocks.1.0.time_mix_blocks.0.x", UNET + "input_blocks.1.0.time_stack.x"),
        "an SV4D model",
    ),
    "motion_module": (
        zeros("down_blocks.0.motion_modules.0.temporal_transformer.x"),
        "an AnimateDiff motion module",
    ),
    "flux": (zeros(UNET + "double_blocks.0.img_attn.qkv.weight"), "a diffusion transformer"),
    "wan": (zeros("blocks.0.self_attn.q.weight"), "a diffusion transformer"),
    "clip_text": (zeros("text_model.encoder.layers.0.mlp.fc1.weight"), "a CLIP text encoder"),
    "scaled_fp8": (
        zeros(UNET + "input_blocks.1.1.time_stack.0.attn1.to_q.scale_weight"),
        "quantised with separate scales",
    ),
    "upscaler": (zeros("model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"), "not an SVD checkpoint"),
    "nothing": ({}, "not an SVD checkpoint"),
}


@pytest.mark.parametrize("model", FOREIGN)
def test_foreign_model_is_called_by_its_name(model):
    tensors, expected = FOREIGN[model]
    sentence = refusal(tensors, "models/other.safetensors")
    assert sentence.startswith(f"models/other.safetensors is {expected}")
    assert "; " in sentence, "no remedy"


@pytest.mark.parametrize("kind", ["unet", "vae", "clip", "animatelcm"])
def test_part_chosen_as_whole_checkpoint_is_refused_with_the_remedy(kind, tmp_path):
    path = write_checkpoint(tmp_path / "part.safetensors", kind=kind)
    with pytest.raises(
        ValueError, match="holds only .* missing: .* load U-Net, VAE and CLIP from separate files"
    ):
        load(read(path))


def test_other_parts_than_svds_do_not_fit():
    def parts(**vae):
        config = dataclasses.replace(SMALL.vae_config, **vae)
        return read(
            "vae", tensors=Maker(vae=config).vae(embedder=False) | {"puresvd": to_tensor(SMALL.hints())}
        )

    whole = read("svd", tensors=COMPLETE)
    with pytest.raises(ValueError, match="VAE has 16 latent channels, the U-Net 4"):
        read_parts(whole, parts(z_channels=16), whole)
    narrow = dataclasses.replace(
        whole.network("clip"), config=dataclasses.replace(whole.clip_config, projection=768)
    )
    clip = dataclasses.replace(whole, networks=whole.networks | {"clip": narrow})
    with pytest.raises(ValueError, match="gives 768 values, the U-Net takes 16"):
        read_parts(whole, whole, clip)


def test_integer_weights_are_refused():
    tensors = {**COMPLETE, UNET + "out.2.weight": COMPLETE[UNET + "out.2.weight"].to(torch.int8)}
    assert "not in floating point (model.diffusion_model.out.2.weight: int8)" in refusal(tensors)


def test_unknown_tensors_are_named_and_allowed():
    extra = {"extra.thing": torch.ones(1), UNET + "more.weight": torch.ones(1)}
    report = read("svd.safetensors", tensors=COMPLETE | extra).report
    assert sorted(report.unknown) == sorted(extra)
    assert "unknown: 2 (extra.thing, model.diffusion_model.more.weight)" in str(report)


SIZES = st.lists(st.sampled_from([0, 1, 3, 4, 64, 1 << 17, 1 << 30]), max_size=4)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(CHOSEN), st.none() | SIZES), min_size=1, max_size=4))
def test_any_shapes_give_a_sentence_or_the_file(changes):
    """Tensors taken away or given any shape, without memory of their own."""
    tensors = dict(COMPLETE)
    for name, shape in changes:
        tensors.pop(name, None)
        if (
            shape is not None and math.prod(max(1, size) for size in shape) < 1 << 48
        ):  # strides that torch can hold
            tensors[name] = torch.empty(shape, device="meta")
    try:
        sentence = str(read("svd.safetensors", tensors=tensors).report)
    except ValueError as fault:
        sentence = str(fault)
    assert sentence.startswith("svd.safetensors: ")
