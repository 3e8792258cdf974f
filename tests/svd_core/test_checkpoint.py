"""Every layout is read and loaded at reduced width, and fits the released names and shapes at full width."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from svd_core.checkpoint import load, read, read_parts
from svd_core.export import write_safetensors
from svd_core.files import open_tensors
from svd_core.layouts import fold_quant_conv
from svd_core.presets import PRESETS, to_tensor
from tests.make_checkpoint import FIRST, KINDS, UNET, VISUAL, Maker, unet_config, write_checkpoint

from .full_width import full_width, meta, rows

WHOLE = [kind for kind in KINDS if kind not in ("animatelcm", "unet", "vae", "clip")]
FOLDERS = [kind for kind in KINDS if kind.startswith("diffusers")]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Each kind of checkpoint, written once."""
    folder = tmp_path_factory.mktemp("checkpoints")
    paths = {kind: folder / (kind if kind in FOLDERS else f"{kind}.safetensors") for kind in KINDS}
    return {kind: write_checkpoint(path, kind=kind) for kind, path in paths.items()}


# Every family at full width


@pytest.mark.parametrize(
    ("kind", "total"), [("svd", 2446), ("svd_image_decoder", 2322), ("sv3d_u", 2212), ("sv3d_p", 2212)]
)
def test_full_width_file_fits_the_networks_tensor_by_tensor(kind, total):
    tensors = full_width(kind)
    assert len(tensors) == total
    checkpoint = read(f"{kind}.safetensors", tensors=tensors)
    assert checkpoint.report.unknown == []
    assert (checkpoint.kind, checkpoint.family) == (kind.removesuffix("_image_decoder"),) * 2
    assert checkpoint.preset == PRESETS[checkpoint.family]
    assert checkpoint.vae_config.temporal == (kind == "svd")
    assert checkpoint.report.used["unet"] == 1428
    assert checkpoint.report.used["clip"] == 520
    unused = {reason: len(names) for reason, names in checkpoint.report.unused.items()}
    assert unused == {"remains of the text tower": 6, "plain decoder of the condition embedder": 140}


def test_full_width_configurations_are_the_released_ones():
    checkpoint = read("svd.safetensors", tensors=full_width("svd"))
    assert dataclasses.astuple(checkpoint.unet_config) == (
        320, (1, 2, 4, 4), 2, (True, True, True, False), 1024, 768, 8, 4, 64, 32,
    )  # fmt: skip
    clip = checkpoint.clip_config
    assert (clip.width, clip.layers, clip.heads, clip.mlp, clip.patch, clip.image_size, clip.projection) == (
        1280, 32, 16, 5120, 14, 224, 1024,
    )  # fmt: skip
    vae = checkpoint.vae_config
    assert (vae.ch, vae.ch_mult, vae.num_res_blocks, vae.z_channels) == (128, (1, 2, 4, 4), 2, 4)
    assert (vae.embedder, vae.native_encoder, vae.quant_conv, vae.post_quant_conv) == (
        True,
        True,
        False,
        False,
    )


def test_full_width_diffusers_folder_and_single_unet():
    unet = read(
        "AnimateLCM-SVD-xt-1.1.safetensors", tensors={name: meta(shape) for _, name, shape in rows("unet")}
    )
    vae = read("vae", tensors={row[1]: meta(row[-1]) for row in rows("vae") if row[1] != "-"})
    clip = read("clip", tensors={name: meta(shape) for *_, name, shape, _ in rows("clip")})
    assert (unet.kind, vae.kind, clip.kind) == ("unet", "vae", "clip")
    assert unet.preset.name == "animatelcm_svd_xt"
    whole = read_parts(unet, vae, clip)
    assert whole.report.used == {"unet": 1428, "vae": 374, "clip": 520}
    assert whole.unet.keys() == read("svd.safetensors", tensors=full_width("svd")).unet.keys()


@pytest.mark.slow
def test_full_width_load_takes_no_memory_of_its_own(tmp_path):
    """At most 1.15 times the file is allowed; mapped weights need next to nothing. A sparse file of zeros will do."""
    path, at, header = tmp_path / "svd.safetensors", 0, {}
    for name, tensor in full_width("svd").items():
        size = tensor.numel() * 2
        header[name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("anonymous memory is read from /proc")

    def anonymous():
        return int(status.read_text().split("RssAnon:")[1].split()[0]) << 10

    before = anonymous()
    svd = load(path)
    grown = anonymous() - before
    assert sum(p.numel() for p in svd.unet.parameters()) == 1_524_623_082
    assert grown < 0.05 * at, f"{grown:,} bytes for a file of {at:,}"


# Every layout at reduced width


@pytest.mark.parametrize("kind", KINDS)
def test_every_layout_is_read_without_unknown_tensors(kind, made):
    checkpoint = read(made[kind])
    assert checkpoint.report.unknown == []
    assert checkpoint.report.dtypes.keys() == {"float16"}
    assert str(made[kind]) in str(checkpoint.report)
    assert (checkpoint.unet_config is None) == (kind in ("vae", "clip"))


@pytest.mark.parametrize("kind", WHOLE)
def test_every_whole_layout_loads_and_runs(kind, made):
    svd = load(made[kind], dtype=torch.float32)
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
    svd = load(made["svd"])
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
    assert load(path).unet.out[2].weight.dtype == getattr(torch, dtype)
    assert load(path, dtype=torch.float32).unet.out[2].weight.dtype == torch.float32


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
    folded = fold_quant_conv(
        *(vae[f"{n}.{kind}"].float() for n in (conv, quant) for kind in ("weight", "bias"))
    )
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


def test_counts_of_the_lists_are_the_released_ones():
    assert sum(math.prod(t.shape) for t in full_width("svd").values()) == 2_389_819_785
