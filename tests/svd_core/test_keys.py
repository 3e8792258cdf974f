"""The renaming rules against the full-width name and shape lists in tests/data/keys."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import conv2d

from svd_core.checkpoint import convert as layouts
from svd_core.checkpoint import names as keys

KEYS = Path(__file__).parent.parent / "data" / "keys"
EMBEDDER, FIRST = "conditioner.embedders.3.encoder.", "first_stage_model."


def rows(name):
    lines = (KEYS / f"{name}.tsv").read_text().splitlines()
    return [line.split("\t") for line in lines if not line.startswith("#")]


def meta(shape):
    return torch.empty([int(n) for n in shape.split("x")] if shape != "-" else [], device="meta")


def shapes(tensors):
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def bare(name):
    return name.removeprefix(EMBEDDER).removeprefix(FIRST)


UNET = rows("unet")
VAE = [row for row in rows("vae") if row[1] != "-"]
CLIP = rows("clip")


def test_lists_are_complete():
    assert (len(UNET), len(VAE), len(rows("vae"))) == (1428, 374, 620)
    assert (len({row[0] for row in CLIP}), len(CLIP)) == (392, 520)


def test_every_unet_name_maps_one_to_one():
    table = keys.unet_table(keys.unet_layout(single for single, *_ in UNET))
    back = keys.inverse(keys.unet_table(keys.unet_layout(diffusers for _, diffusers, _ in UNET)))
    assert keys.inverse(table) == back
    assert len(back) == len(table)
    for single, diffusers, _ in UNET:
        assert keys.rename(single, table) == diffusers
        assert keys.rename(diffusers, back) == single


def test_every_vae_tensor_maps_to_diffusers_and_back():
    single = {bare(name): meta(shape) for name, _, shape, *_ in VAE}
    diffusers = {name: meta((other or [shape])[0]) for _, name, shape, *other in VAE}
    there, unknown = layouts.vae_to_diffusers(single)
    assert (shapes(there), unknown) == (shapes(diffusers), [])
    back, unknown = layouts.vae_from_diffusers(diffusers)
    assert (shapes(back), unknown) == (shapes(single), [])
    assert {bare(name): new for name, new, *_ in VAE} == {
        name: keys.rename(name, keys.vae_table(keys.vae_layout(single), temporal=True)) for name in single
    }


def test_every_clip_tensor_maps_to_transformers_and_back():
    openclip = {name: meta(shape) for name, shape, *_ in CLIP}
    expected = {name: meta(shape) for _, _, name, shape, _ in CLIP}
    there, unknown = layouts.clip_to_transformers(openclip)
    assert (shapes(there), unknown) == (shapes(expected), [])
    back, unknown = layouts.clip_to_openclip(there)
    assert (shapes(back), unknown) == (shapes(openclip), [])


def test_fused_qkv_splits_in_order_and_projection_is_transposed():
    width = 4
    fused = torch.arange(48.0).reshape(12, width)
    openclip = {
        "transformer.resblocks.0.attn.in_proj_weight": fused,
        "transformer.resblocks.0.attn.in_proj_bias": torch.arange(12.0),
        "proj": torch.arange(8.0).reshape(4, 2),
    }
    split, _ = layouts.clip_to_transformers(openclip)
    layer = "vision_model.encoder.layers.0.self_attn"
    for i, letter in enumerate("qkv"):
        third = split[f"{layer}.{letter}_proj.weight"]
        assert third.equal(fused[i * width : (i + 1) * width])
        assert third.untyped_storage().data_ptr() == fused.untyped_storage().data_ptr(), "a third is a view"
    assert split["visual_projection.weight"].equal(openclip["proj"].T)
    back, _ = layouts.clip_to_openclip(split)
    assert all(back[name].equal(tensor) for name, tensor in openclip.items())


def test_old_diffusers_attention_names_are_understood():
    attention = "encoder.mid_block.attentions.0"
    tensors = {f"{attention}.{n}.weight": torch.zeros(2, 2) for n in ("query", "proj_attn")}
    renamed, unknown = layouts.vae_from_diffusers(tensors)
    assert shapes(renamed) == {f"encoder.mid.attn_1.{n}.weight": (2, 2, 1, 1) for n in ("q", "proj_out")}
    assert unknown == []


@pytest.mark.parametrize("name", ["image_decoder_vae", "sv3d_vae"])
def test_frame_wise_decoders_survive_the_round_trip(name):
    single = {
        row[0].removeprefix(FIRST): meta(row[1])
        for row in rows(name)
        if row[0].startswith(FIRST) and not row[0].startswith(FIRST + "encoder.")
    }
    there, unknown = layouts.vae_to_diffusers(single)
    assert unknown == []
    assert shapes(layouts.vae_from_diffusers(there)[0]) == shapes(single)


@given(st.integers(1, 5), st.integers(1, 3), st.lists(st.booleans(), min_size=5, max_size=5))
def test_unet_names_of_any_layout_survive_the_round_trip(levels, res_blocks, attention):
    layout = keys.Layout(levels, res_blocks, tuple(attention[:levels]))
    table = keys.unet_table(layout)
    back = keys.inverse(table)
    assert len(back) == len(table), "two single-file names became one"
    names = [f"{prefix}.weight" for prefix in table]
    assert [keys.rename(keys.rename(name, table), back) for name in names] == names
    assert keys.unet_layout(names) == layout
    assert keys.unet_layout(keys.rename(name, table) for name in names) == layout


@given(st.integers(1, 5), st.integers(1, 3), st.booleans())
def test_vae_names_of_any_layout_survive_the_round_trip(levels, res_blocks, temporal):
    layout = keys.Layout(levels, res_blocks)
    table = keys.vae_table(layout, temporal=temporal)
    back = keys.inverse(table)
    assert len(back) == len(table)
    names = [f"{prefix}.weight" for prefix in table]
    assert [keys.rename(keys.rename(name, table), back) for name in names] == names
    assert keys.vae_layout(names) == layout
    assert keys.vae_layout(back) == layout


@given(st.text("abcdefgh.0123456789_", max_size=40))
def test_unknown_names_are_left_out(name):
    table = keys.unet_table(keys.Layout(4, 2, (True, True, True, False)))
    renamed = keys.rename(name, table)
    assert renamed is None or any(name == head or name.startswith(head + ".") for head in table)


@pytest.mark.parametrize("temporal", [True, False])
def test_vae_names_outside_the_two_halves_are_those_of_diffusers(temporal):
    table = keys.vae_table(keys.Layout(4, 2), temporal=temporal)
    assert (table["quant_conv"], table["post_quant_conv"]) == ("quant_conv", "post_quant_conv")
    assert ("decoder.conv_out.time_mix_conv" in table) == temporal
    assert keys.indices(table, r"encoder\.down\.0\.block\.(\d)") == {0, 1}
    assert keys.indices(table, r"decoder\.up\.0\.block\.(\d)") == {0, 1, 2}


def test_names_of_no_network_give_the_smallest_layout():
    assert keys.unet_layout([]) == keys.Layout(1, 1, (False,))
    assert keys.unet_layout(["input_blocks.2.0.in_layers.0.weight"]) == keys.Layout(1, 2, (False,))
    assert keys.vae_layout([]) == keys.Layout(1, 1)


def test_attention_may_begin_at_any_block_of_a_level():
    names = [
        "input_blocks.3.0.op.weight",
        "input_blocks.5.1.norm.weight",
        "input_blocks.5.0.in_layers.0.weight",
    ]
    assert keys.unet_layout(names) == keys.Layout(2, 2, (False, True))


def test_clip_tensors_of_no_layer_keep_their_names():
    proj = torch.arange(6.0).reshape(3, 2)
    assert list(layouts.clip_to_transformers({"proj": proj})[0]) == ["visual_projection.weight"]
    assert layouts.clip_to_transformers({"proj": proj})[1] == []
    back, unknown = layouts.clip_to_openclip({"visual_projection.weight": proj.T, "stray.weight": proj})
    assert list(back) == ["proj"]
    assert unknown == ["stray.weight"]


def test_unet_tensors_are_renamed_without_loss():
    single = {name: meta(shape) for name, _, shape in UNET}
    there, unknown = layouts.unet_to_diffusers(single | {"stray": meta("1")})
    assert (set(there), unknown) == ({name for _, name, _ in UNET}, ["stray"])
    back, unknown = layouts.unet_from_diffusers(there | {"stray": meta("1")})
    assert (shapes(back), unknown) == (shapes(single), ["stray"])


def test_folded_quant_conv_equals_both_convolutions():
    g = torch.Generator().manual_seed(0)
    w, b, q, p, x = (
        torch.randn(shape, generator=g) for shape in ((8, 5, 3, 3), (8,), (8, 8, 1, 1), (8,), (2, 5, 6, 7))
    )
    apart, folded = conv2d(conv2d(x, w, b, padding=1), q, p), layouts.fold_quant_conv(w, b, q, p)
    # float32: the two orders of summation differ by rounding only
    torch.testing.assert_close(conv2d(x, *folded, padding=1), apart, rtol=1e-4, atol=1e-4)
