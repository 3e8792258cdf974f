"""Every released file, by its names and shapes: read whole, with nothing unknown, in next to no memory."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from svd_core.checkpoint.load import load
from svd_core.checkpoint.presets import PRESETS
from svd_core.checkpoint.read import read, read_parts

from .full_width import full_width, meta, rows


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
        320,
        (1, 2, 4, 4),
        2,
        (True, True, True, False),
        1024,
        768,
        8,
        4,
        64,
        32,
    )
    clip = checkpoint.clip_config
    assert (clip.width, clip.layers, clip.heads, clip.mlp, clip.patch, clip.image_size, clip.projection) == (
        1280,
        32,
        16,
        5120,
        14,
        224,
        1024,
    )
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
    """At most 1.15 times the file is allowed; mapped weights need next to nothing.
    A sparse file of zeros will do.
    """
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
    svd = load(read(path))
    grown = anonymous() - before
    assert sum(p.numel() for p in svd.unet.parameters()) == 1_524_623_082
    assert grown < 0.05 * at, f"{grown:,} bytes for a file of {at:,}"


def test_counts_of_the_lists_are_the_released_ones():
    assert sum(math.prod(t.shape) for t in full_width("svd").values()) == 2_389_819_785
