"""Every layout is read and loaded at reduced width."""

import pytest
import torch

from svd_core.checkpoint.convert import fold_quant_conv
from svd_core.checkpoint.header import open_tensors
from svd_core.checkpoint.load import load
from svd_core.checkpoint.presets import to_tensor
from svd_core.checkpoint.read import read, read_parts
from svd_core.checkpoint.write import write_safetensors
from tests.make_checkpoint import FIRST, KINDS, UNET, VISUAL, Maker, unet_config, write_checkpoint

WHOLE = [kind for kind in KINDS if kind not in ("animatelcm", "unet", "vae", "clip")]
FOLDERS = [kind for kind in KINDS if kind.startswith("diffusers")]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Each kind of checkpoint, written once."""
    folder = tmp_path_factory.mktemp("checkpoints")
    paths = {kind: folder / (kind if kind in FOLDERS else f"{kind}.safetensors") for kind in KINDS}
    return {kind: write_checkpoint(path, kind=kind) for kind, path in paths.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_layout_is_read_without_unknown_tensors(kind, made):
    checkpoint = read(made[kind])
    assert checkpoint.report.unknown == []
    assert checkpoint.report.dtypes.keys() == {"float16"}
    assert str(made[kind]) in str(checkpoint.report)
    assert (checkpoint.unet_config is None) == (kind in ("vae", "clip"))


@pytest.mark.parametrize("kind", WHOLE)
def test_every_whole_layout_loads_and_runs(kind, made):
    svd = load(read(made[kind]), dtype=torch.float32)
    config = svd.unet.config
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in svd.unet.parameters())
    assert not any(t.is_meta for net in (svd.unet, svd.vae, svd.clip) for t in net.state_dict().values())
    x = torch.zeros(2, 8, 4, 4)
    v = svd.unet(
        x, torch.zeros(2), torch.zeros(2, 1, config.context_dim), torch.zeros(2, config.adm_in_channels), t=2
    )
    frames = svd.vae.decode(torch.ones(2, 4, 2, 2), t=2)
    assert (v.shape, frames.shape) == ((2, 4, 4, 4), (2, 3, 16, 16))
    assert v.isfinite().all()
    assert svd.vae.encode(frames).isfinite().all()
    assert svd.clip(torch.ones(1, 3, 56, 56)).isfinite().all()


def test_weights_stay_mapped_in_the_file(made):
    svd = load(read(made["svd"]))
    fused = svd.clip.vision_model.encoder.layers[0].self_attn
    storages = {
        fused.q_proj.weight.untyped_storage().data_ptr(),
        fused.k_proj.weight.untyped_storage().data_ptr(),
    }
    assert len(storages) == 1, "q, k and v are views of the fused tensor"


@pytest.mark.parametrize("kind", ["diffusers", "diffusers_fp16", "diffusers_sharded"])
def test_folder_variants_hold_the_same_weights(kind, made):
    plain, other = read(made["diffusers"]), read(made[kind])
    assert other.kind == "diffusers folder"
    for name in ("unet", "vae", "clip"):
        one, two = getattr(plain, name), getattr(other, name)
        assert one.keys() == two.keys()
        assert all(one[key].equal(two[key]) for key in one)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_every_storage_format_loads(dtype, tmp_path):
    unet = unet_config(channel_mult=(1,), attention_levels=(True,))
    path = write_checkpoint(tmp_path / "svd.safetensors", dtype=getattr(torch, dtype), unet=unet)
    assert read(path).report.dtype == dtype
    assert load(read(path)).unet.out[2].weight.dtype == getattr(torch, dtype)
    assert load(read(path), dtype=torch.float32).unet.out[2].weight.dtype == torch.float32


def test_mixed_formats_of_a_network_become_one(tmp_path):
    maker = Maker(dtype=torch.float16)
    tensors = maker.single_file("svd")
    weight, conv_out = UNET + "out.2.weight", FIRST + "encoder.conv_out.weight"
    for name in tensors:
        if name.startswith(UNET) and tensors[name].ndim > 1:
            tensors[name] = tensors[name].to(torch.float8_e4m3fn)
    tensors[conv_out] = tensors[conv_out].float()
    write_safetensors(tmp_path / "mixed.safetensors", tensors, {"puresvd": maker.hints()})
    svd = load(read(tmp_path / "mixed.safetensors"))
    assert {p.dtype for net in (svd.unet, svd.vae) for p in net.parameters()} == {torch.float16}
    assert svd.unet.out[2].weight.equal(tensors[weight].half())


def test_parts_come_from_files_of_one_network_or_of_more(made):
    parts = read_parts(made["animatelcm"], made["svd"], made["clip"])
    assert parts.kind == "parts"
    assert parts.vae_config == read(made["svd"]).vae_config
    load(parts)
    with pytest.raises(ValueError, match="vae.safetensors holds no U-Net, only VAE; choose another file"):
        read_parts(made["vae"], made["vae"], made["clip"])


def test_component_folders_serve_as_parts(made):
    folder = made["diffusers"]
    parts = read_parts(folder / "unet", folder / "vae", folder / "image_encoder")
    assert parts.unet_config == read(folder).unet_config


def test_single_file_and_diffusers_unet_are_the_same_network(tmp_path):
    one = read(write_checkpoint(tmp_path / "a.safetensors", kind="unet"))
    two = read(write_checkpoint(tmp_path / "b.safetensors", kind="animatelcm"))
    assert one.unet_config == two.unet_config
    assert all(one.unet[name].equal(two.unet[name]) for name in one.unet)


def test_openclip_and_transformers_towers_are_the_same_network():
    maker = Maker()
    tower = maker.clip()
    fused = Maker()
    single = fused.single_file("svd")
    found = read("svd.safetensors", tensors=single | {FIRST + "puresvd": to_tensor(maker.hints())})
    assert found.clip.keys() == tower.keys()


def test_resaved_file_encodes_as_the_original(made, tmp_path):
    """The host writes one encoder without quant_conv: ours goes out folded and must come back the same."""
    original = read(made["svd"])
    vae = dict(original.vae)
    conv, quant = "embedder.encoder.conv_out", "embedder.quant_conv"
    folded = fold_quant_conv(*(vae[f"{n}.{kind}"] for n in (conv, quant) for kind in ("weight", "bias")))
    encoder = {name: t for name, t in vae.items() if name.startswith("embedder.encoder.")}
    encoder |= {f"{conv}.weight": folded[0], f"{conv}.bias": folded[1]}
    tensors = {UNET + name: t for name, t in original.unet.items()}
    tensors |= {FIRST + name.removeprefix("embedder."): t for name, t in encoder.items()}
    tensors |= {name: t for name, t in vae.items() if name.startswith(FIRST + "decoder.")}
    tensors |= {VISUAL + name: t for name, t in original.clip.items()}
    tensors |= {
        FIRST + "puresvd": to_tensor(original.hints_json()),
        "edm_vpred.sigma_max": torch.tensor(700.0),
    }
    write_safetensors(tmp_path / "renamed.safetensors", tensors)
    again = read(tmp_path / "renamed.safetensors")
    assert (again.preset, again.unet_config, again.clip_config) == (
        original.preset,
        original.unet_config,
        original.clip_config,
    )
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    one, two = (load(c, dtype=torch.float32).vae.encode(x) for c in (original, again))
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-5)  # float32 rounding of the folded convolution


def test_a_host_may_bring_the_tensors_or_a_loader(made):
    tensors, metadata = open_tensors(made["svd"])
    calls = []

    def loader(path):
        calls.append(path)
        return tensors

    for given in (tensors, loader):
        checkpoint = read(made["svd"], tensors=given)
        assert checkpoint.metadata == metadata, "the metadata is read from the file's header"
        assert checkpoint.preset.name == "tiny"
    assert calls == [str(made["svd"])]
    with pytest.raises(ValueError, match="does not exist"):
        read("gone.safetensors", tensors=loader)
    assert len(calls) == 1, "a file is checked before the host opens it"
