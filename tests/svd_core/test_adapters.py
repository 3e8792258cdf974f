"""LoRA files: every naming on the full-width key list, what is refused in which words, what is measured."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from svd_core.adapters.__main__ import convert
from svd_core.adapters.change import Layer, change, change_norm, decomposed
from svd_core.adapters.lora import read, translate
from svd_core.adapters.names import PARTS, Layers, part_of
from svd_core.adapters.report import describe
from svd_core.checkpoint.names import rename, unet_layout, unet_table
from tests.svd_core.full_width import rows

SHAPES = {
    name: tuple(int(n) for n in size.split("x")) if size != "-" else () for name, _, size in rows("unet")
}
LAYERS = Layers(SHAPES)
TABLE = unet_table(unet_layout(SHAPES))
ATTENTION = [m for part in PARTS[:2] for m in LAYERS.in_part(part)]
SMALL = {  # a corner of the U-Net
    "input_blocks.1.1.time_stack.0.attn1.to_q.weight": (8, 8),
    "input_blocks.1.1.time_stack.0.attn2.to_k.weight": (8, 12),
    "input_blocks.1.0.time_stack.in_layers.2.weight": (8, 8, 3, 1, 1),
    "input_blocks.1.0.time_stack.in_layers.2.bias": (8,),
    "input_blocks.1.0.in_layers.2.weight": (8, 4, 3, 3),
    "input_blocks.1.0.time_mixer.mix_factor": (1,),
}
CORNER = Layers(SMALL)
TO_Q, TO_K, TIME, CONV = (
    name.removesuffix(".weight") for name in list(SMALL)[:5] if name.endswith(".weight")
)


def diffusers(module):
    return rename(module, TABLE)


def flat(name):
    return name.replace(".", "_")


FAMILIES = {
    "peft": (lambda m: f"base_model.model.{diffusers(m)}.lora_", ("A.weight", "B.weight")),
    "peft with a prefix": (lambda m: f"unet.{diffusers(m)}.lora_", ("A.weight", "B.weight")),
    "peft, raw": (lambda m: f"{diffusers(m)}.lora_", ("A.default.weight", "B.default.weight")),
    "diffusers": (lambda m: f"unet.{diffusers(m)}.lora.", ("down.weight", "up.weight")),
    "diffusers in a wrapper": (
        lambda m: f"unet.base_model.model.{diffusers(m)}.lora.",
        ("down.weight", "up.weight"),
    ),
    "diffusers, old": (
        lambda m: (
            f"{diffusers(m)}".replace(".to_", ".processor.to_").replace("to_out.0", "to_out") + "_lora."
        ),
        ("down.weight", "up.weight"),
    ),
    "kohya": (lambda m: f"lora_unet_{flat(diffusers(m))}.lora_", ("down.weight", "up.weight")),
    "lycoris": (lambda m: f"lycoris_{flat(diffusers(m))}.lora_", ("down.weight", "up.weight")),
    "kohya, single file": (lambda m: f"lora_unet_{flat(m)}.lora_", ("down.weight", "up.weight")),
    "comfyui": (lambda m: f"diffusion_model.{m}.lora_", ("down.weight", "up.weight")),
    "single file": (lambda m: f"model.diffusion_model.{m}.lora_", ("down.weight", "up.weight")),
}


def factors(size, rank=1):
    kernel = [int(n) for n in size[2:]]
    return torch.zeros(rank, size[1], *kernel), torch.zeros(size[0], rank, *[1] * len(kernel))


@pytest.mark.parametrize("family", FAMILIES)
def test_all_256_attention_matrices_of_a_naming_are_matched(family):
    stem, suffixes = FAMILIES[family]
    tensors = {}
    for module in ATTENTION:
        for suffix, tensor in zip(suffixes, factors(SHAPES[LAYERS.weight(module)])):
            tensors[stem(module) + suffix] = tensor
    found = translate(tensors, LAYERS, where="file")
    assert len(ATTENTION) == 256
    assert set(found.layers) == set(ATTENTION)
    wanted = {f"diffusion_model.{m}.lora_{half}.weight" for m in ATTENTION for half in ("up", "down")}
    assert found.native().keys() == wanted


def test_every_layer_is_found_under_each_of_its_names():
    modules = {name.removesuffix(".weight").removesuffix(".bias") for name in SHAPES}
    assert set(LAYERS.modules) == modules
    for module in modules:
        for name in (module, diffusers(module)):
            assert LAYERS.find(name) == LAYERS.find(flat(name)) == module
    image = "down_blocks.1.resnets.0.conv_shortcut"  # as Stable Diffusion 2 calls the layer over space
    assert LAYERS.find(image) == LAYERS.find(flat(image)) == "input_blocks.4.0.skip_connection"


def test_parts_hold_the_numbers_of_layers_that_the_network_has():
    counts = {part: len(LAYERS.in_part(part)) for part in PARTS}
    assert counts == {
        "temporal attention": 128,
        "spatial attention": 128,
        "feed-forward": 96,
        "projections": 32,
        "convolutions": 110,  # 88 in residual blocks, 14 skips, first and last, 3 down, 3 up
        "embeddings": 80,
        "mixers": 38,
    }
    assert all(part_of(module) in PARTS for module in LAYERS.modules)


def small(**tensors):
    """Tensors of a kohya file over the corner; keys are role__layer."""
    names = {"q": TO_Q, "k": TO_K, "time": TIME, "conv": CONV}
    return {
        f"lora_unet_{flat(names[key.rpartition('__')[2]])}.{key.rpartition('__')[0].replace('__', '.')}": (
            value
        )
        for key, value in tensors.items()
    }


def pair(rank=2, out=8, into=8):
    return dict(lora_up__weight__q=torch.ones(out, rank), lora_down__weight__q=torch.ones(rank, into))


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        (small(lora_up__weight__q=torch.ones(8, 2)), "lora_up and lora_down are not all there for 1 layer"),
        (small(alpha__q=torch.ones(())), "matrices that go with an alpha"),
        (small(hada_w1_a__q=torch.ones(8, 2), hada_w1_b__q=torch.ones(2, 8)), "four matrices of LoHa"),
        (small(lokr_w1__q=torch.ones(2, 2)), "both factors of LoKr"),
        (small(**pair(into=7)), "up 8x2, down 2x7 for a weight of 8x8"),
        (
            small(lora_up__weight__q=torch.ones(2, 8), lora_down__weight__q=torch.ones(8, 2)),
            "for a weight of 8x8",
        ),
        (
            small(lora_up__weight__k=torch.ones(8, 2), lora_down__weight__k=torch.ones(2, 768)),
            "it was trained for Stable Diffusion 1",
        ),
        (
            small(lora_up__weight__k=torch.ones(8, 2), lora_down__weight__k=torch.ones(2, 2048)),
            "it was trained for SDXL",
        ),
        (
            small(**pair() | {"lora_up__weight__q": torch.full((8, 2), torch.nan)}),
            "NaN or infinite values in 1 layer",
        ),
        (
            small(**pair() | {"lora_up__weight__q": torch.ones(8, 2, dtype=torch.int8)}),
            "quantised in 1 layer",
        ),
        (small(**pair(), alpha__q=torch.tensor(torch.inf)), "no usable alpha"),
        (small(diff__conv=torch.ones(8, 4, 3, 1)), "a difference of 8x4x3x1 for a weight of 8x4x3x3"),
        (small(diff_b__conv=torch.ones(8)), "a bias of 8 for a layer without bias"),
        (
            {"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.ones(1)},
            "SVD has no text encoder",
        ),
        ({"lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q.alpha": torch.ones(())}, "SDXL layers"),
        ({"down_blocks.0.motion_modules.0.to_q_lora.up.weight": torch.ones(1)}, "AnimateDiff"),
        ({"transformer.single_transformer_blocks.0.lora_A.weight": torch.ones(1)}, "diffusion transformer"),
        ({"0": torch.ones(1), "1": torch.ones(1)}, "numbered tensors"),
        (
            {f"x{i}.alpha": torch.ones(()) for i in range(5)},
            "5 of its 5 tensors fit no layer of this U-Net (x0",
        ),
        ({}, "holds no tensors"),
    ],
)
def test_unfit_file_is_refused_in_one_sentence(tensors, told):
    with pytest.raises(ValueError, match="file") as caught:
        translate(tensors, CORNER, where="file")
    sentence = str(caught.value)
    assert told in sentence
    assert not re.search(r"holds \d+ of its", sentence)
    assert "\n" not in sentence
    assert "; choose" in sentence or "; use" in sentence
    assert len(sentence) < 400


def test_refusal_names_the_first_and_counts_the_rest():
    tensors = {f"unknown.{i}.lora_A.weight": torch.ones(1) for i in range(9)}
    with pytest.raises(ValueError, match=r"9 of its 9 .*unknown\.0.*unknown\.2.*and 6 more"):
        translate(tensors, CORNER, where="file")


def test_half_known_file_is_refused_and_not_half_applied():
    tensors = small(**pair()) | {"lora_unet_something_else.lora_up.weight": torch.ones(1)}
    with pytest.raises(ValueError, match="1 of its 3 tensors"):
        translate(tensors, CORNER, where="file")


def test_two_adapters_of_one_layer_are_refused():
    twice = {f"{TO_Q}.lora_A.{name}.weight": torch.ones(2, 8) for name in ("first", "second")}
    with pytest.raises(ValueError, match="two adapters"):
        translate(twice, CORNER, where="file")


def test_pickle_is_refused_without_being_opened(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "lora.safetensors")
    with pytest.raises(ValueError, match="is a pickle"):
        read(tmp_path / "lora.safetensors", CORNER)


def test_model_without_layers_over_time_is_refused():
    with pytest.raises(ValueError, match="not a Stable Video Diffusion U-Net"):
        Layers({"input_blocks.0.0.weight": (8, 4, 3, 3)})


def randn(*size):
    return torch.randn(size, generator=torch.Generator().manual_seed(sum(size)))


def test_locon_acts_like_its_convolutions_one_after_the_other():
    x = randn(1, 8, 5, 3, 2)
    up, mid, down = randn(8, 2, 1, 1, 1), randn(2, 2, 3, 1, 1), randn(2, 8, 1, 1, 1)
    conv3d = torch.nn.functional.conv3d
    layer = Layer(TIME, {"up": up, "mid": mid, "down": down}, alpha=3.0)
    through = conv3d(conv3d(conv3d(x, down), mid, padding=(1, 0, 0)), up) * 1.5
    assert torch.allclose(conv3d(x, change(layer, (8, 8, 3, 1, 1)), padding=(1, 0, 0)), through, atol=1e-5)


@pytest.mark.parametrize("kind", ["lokr_w2", "lokr_t2", "hada_t1"])
def test_forms_over_time_that_the_host_mistakes_are_rewritten_exactly(kind):
    """Its einsum has four indices and its Kronecker product aligns the axes from the right."""
    if kind == "hada_t1":
        roles = {"hada_t1": randn(2, 2, 3, 1, 1), "hada_t2": randn(2, 2, 3, 1, 1)}
        roles |= {f"hada_w{i}_{half}": randn(2, 8) for i in (1, 2) for half in "ab"}
        cp = [
            torch.einsum(
                "ijklm,jr,ip->prklm", roles[f"hada_t{i}"], roles[f"hada_w{i}_b"], roles[f"hada_w{i}_a"]
            )
            for i in (1, 2)
        ]
        wanted = cp[0] * cp[1] * 2.5
    else:
        w2 = randn(4, 2, 3, 1, 1)
        roles = {"lokr_w1": randn(2, 4), "lokr_w2": w2}
        scale = 1.0
        if kind == "lokr_t2":
            t2, a, b = randn(2, 2, 3, 1, 1), randn(2, 4), randn(2, 2)
            roles = {"lokr_w1": roles["lokr_w1"], "lokr_t2": t2, "lokr_w2_a": a, "lokr_w2_b": b}
            w2, scale = torch.einsum("ijklm,jr,ip->prklm", t2, b, a), 2.5
        wanted = torch.stack(
            [torch.kron(roles["lokr_w1"], w2[:, :, k, 0, 0].contiguous()) for k in range(3)], dim=2
        )
        wanted = wanted[..., None, None] * scale
    tensors = {f"diffusion_model.{TIME}.{role}": t for role, t in roles.items()}
    tensors[f"diffusion_model.{TIME}.alpha"] = torch.tensor(5.0)
    (layer,) = translate(tensors, CORNER, where="file").layers.values()
    assert all(t.ndim <= 2 or role == "diff" for role, t in layer.tensors.items())
    assert torch.allclose(change(layer, (8, 8, 3, 1, 1)), wanted, rtol=1e-5, atol=1e-5)


def test_norm_of_a_change_from_gram_matrices_is_that_of_the_product():
    layer = Layer(CONV, {"up": randn(8, 2, 1, 1), "down": randn(2, 4, 3, 3)}, alpha=6.0)
    assert change_norm(layer, (8, 4, 3, 3)) == pytest.approx(
        float(change(layer, (8, 4, 3, 3)).norm()), rel=1e-6
    )


@pytest.mark.parametrize("axis", [0, 1])
def test_dora_gives_every_row_or_column_its_magnitude(axis):
    weight, shape = randn(8, 12), [1, 1]
    shape[axis] = -1
    m = torch.rand((8, 12)[axis], generator=torch.Generator().manual_seed(0)) + 0.5
    layer = Layer(TO_K, {"up": randn(8, 2), "down": randn(2, 12), "dora": m.reshape(shape)})
    new = weight + decomposed(layer, weight)
    assert torch.allclose(new.norm(dim=1 - axis), m, rtol=1e-5)
    merged = weight + change(layer, (8, 12))
    cosine = torch.nn.functional.cosine_similarity(new, merged, dim=1 - axis)
    assert torch.allclose(cosine, torch.ones_like(m), rtol=1e-5)


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"r": 4, "lora_alpha": 2}, 1.0),  # of two rows there are 2
        ({"r": 4, "lora_alpha": 2, "use_rslora": True}, 2 / 2**0.5),
        ({"r": 4, "lora_alpha": 2, "alpha_pattern": {"attn1.to_q": 8}}, 4.0),
        ({"r": 4, "lora_alpha": 2, "alpha_pattern": {"attn2.to_q": 8}}, 1.0),
        ({"r": 4, "lora_alpha": "many"}, 1.0),
    ],
)
def test_alpha_of_peft_settings_scales_the_change(tmp_path, config, scale):
    tensors = {f"{TO_Q}.lora_A.weight": randn(2, 8), f"{TO_Q}.lora_B.weight": randn(8, 2)}
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    save_file(tensors, tmp_path / "other.safetensors", {"lora_adapter_metadata": json.dumps(config)})
    for name in ("adapter_model", "other"):
        (layer,) = read(tmp_path / f"{name}.safetensors", CORNER).layers.values()
        assert layer.scale == pytest.approx(scale)


def test_settings_of_another_file_in_the_folder_are_not_taken(tmp_path):
    tensors = {f"{TO_Q}.lora_A.weight": randn(2, 8), f"{TO_Q}.lora_B.weight": randn(8, 2)}
    for name in ("one", "two"):
        save_file(tensors, tmp_path / f"{name}.safetensors")
    (tmp_path / "adapter_config.json").write_text('{"r": 4, "lora_alpha": 100}')
    (layer,) = read(tmp_path / "one.safetensors", CORNER).layers.values()
    assert layer.alpha is None


def test_report_counts_matched_layers_and_measures_the_change():
    modules = LAYERS.in_part("temporal attention")
    tensors, weights = {}, {}
    for module in modules:
        size = SHAPES[f"{module}.weight"]
        up, down = torch.zeros(size[0], 16), torch.zeros(16, size[1])
        up[0, 0] = down[0, 0] = 1.0
        tensors |= {f"{diffusers(module)}.lora_B.weight": up, f"{diffusers(module)}.lora_A.weight": down}
        tensors[f"{diffusers(module)}.alpha"] = torch.tensor(16.0)
        weights[f"{module}.weight"] = torch.full((1,), 33.3)
    text = describe(translate(tensors, LAYERS, where="file"), LAYERS, weights.__getitem__)
    first, second = text.split("\n")
    assert first == "128/128 temporal attention, LoRA, rank 16, alpha 16, largest relative change 3 %"
    assert second.startswith("32 of these layers have no effect")
    strong = describe(translate(tensors, LAYERS, where="file"), LAYERS, lambda name: torch.full((1,), 0.5))
    assert strong.startswith(
        "128/128 temporal attention, LoRA, rank 16, alpha 16, largest relative change 200 %\n"
    )
    assert "lower the strength" in strong


def test_command_writes_a_file_in_names_every_loader_knows(tmp_path):
    module = "input_blocks.1.1.time_stack.0.attn1.to_q"
    down, up = factors(SHAPES[f"{module}.weight"], 4)
    tensors = {f"{diffusers(module)}.lora_A.weight": down, f"{diffusers(module)}.lora_B.weight": up}
    save_file(tensors, tmp_path / "in.safetensors", {"lora_adapter_metadata": '{"r": 4, "lora_alpha": 8}'})
    told = convert(tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    assert told.startswith("1/128 temporal attention, LoRA, rank 4, alpha 8")
    found = load_file(tmp_path / "out.safetensors")
    assert float(found.pop(f"diffusion_model.{module}.alpha")) == 8
    assert found.keys() == {f"diffusion_model.{module}.lora_{half}.weight" for half in ("up", "down")}
    with pytest.raises(ValueError, match="exists already"):
        convert(tmp_path / "in.safetensors", tmp_path / "out.safetensors")
