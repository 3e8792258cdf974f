"""Promise: any image, latent or number gives a defined result or one sentence of ours, and no input is changed."""

import math
import re
import traceback
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.make_checkpoint import write_checkpoint

ROOT = Path(__file__).resolve().parents[2]
REMEDY = re.compile(r"[;:,] .*\b(use|wire|check|choose|put|divide|raise|match|load|pass)\b")
SIDES = [(0, 3), (1, 1), (1, 17), (16, 16), (33, 20), (2, 8192), (8192, 1)]
FRAMES = [0, 1, 2, 26, 1000]
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.uint8, torch.int64,
          torch.bool, torch.complex64]  # fmt: skip
FILLS = {
    "usual": (0, 1),
    "black": (0, 0),
    "white": (1, 1),
    "overshoot": (-0.5, 1.5),
    "bytes": (0, 255),
    "huge": (-1e38, 1e38),
}
SPOTS = [math.nan, math.inf, -math.inf]
FEW, MANY = 24, 100
EDGES = {
    "frames": 26,
    "steps": 3,
    "width": 64,
    "height": 64,
    "target_fps": 30.0,
    "slow_motion": 4.0,
}  # else hours


def tensor(shape, dtype, fill, spot, seed):
    low, high = FILLS[fill]
    x = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * (high - low) + low
    if spot is not None and x.numel():
        x.view(-1)[seed % x.numel()] = spot
    return x.to(dtype)


def tensors(shapes):
    """Mostly what nodes are used with, with everything else mixed in."""
    usual = st.builds(tensor, shapes, st.just(torch.float32), st.just("usual"), st.none(), st.integers(0, 99))
    spots = st.none() | st.sampled_from(SPOTS)
    odd = st.builds(
        tensor, shapes, st.sampled_from(DTYPES), st.sampled_from(list(FILLS)), spots, st.integers(0, 99)
    )
    return usual | odd


@st.composite
def image_shapes(draw):
    frames, (H, W) = draw(st.sampled_from(FRAMES)), draw(st.sampled_from(SIDES))
    if frames > 2 and H * W > 17:
        H, W = (2, 3) if frames > 26 else (16, 16)
    shape = [frames, H, W, draw(st.sampled_from([1, 2, 3, 3, 4, 5, 0]))]
    return draw(st.sampled_from([shape, shape, shape, shape, shape[1:], [1, *shape]]))


@st.composite
def latent_shapes(draw):
    shape = [
        draw(st.sampled_from(FRAMES)),
        draw(st.sampled_from([4, 4, 4, 3, 16, 0])),
        *draw(st.sampled_from([(8, 8), (1, 1), (3, 5), (1, 1024)])),
    ]
    if shape[0] > 2 and math.prod(shape[2:]) > 15:
        shape[2:] = (1, 1) if shape[0] > 26 else (2, 2)
    return draw(st.sampled_from([shape, shape, shape, shape[1:], [1, *shape]]))


def foreign(kind):
    """What a careless node may hand over instead."""
    return st.sampled_from([None, [], "text", kind])


def sockets(trio):
    """Strategies by socket type."""
    model, clip_vision, vae = trio
    context = st.builds(
        tensor,
        st.sampled_from([(1, 1, 16), (1, 1, 1024), (1, 16), (0, 1, 16)]),
        st.just(torch.float32),
        st.just("usual"),
        st.none(),
        st.integers(0, 9),
    )
    details = st.fixed_dictionaries(
        {"motion_bucket_id": st.just(127), "fps": st.just(7), "augmentation_level": st.floats(0, 1)},
        optional={
            "concat_latent_image": tensors(latent_shapes()).filter(
                lambda x: x.ndim == 4 and x.is_floating_point()
            )
        },
    )
    described = st.lists(st.tuples(context, details).map(list), min_size=0, max_size=2)
    return {
        "IMAGE": tensors(image_shapes()) | foreign(3),
        "LATENT": st.fixed_dictionaries({"samples": tensors(latent_shapes())}),
        "MODEL": st.just(model), "CLIP_VISION": st.just(clip_vision), "VAE": st.just(vae),
        "CONDITIONING": described, "INTERP_MODEL": st.none(), "BOOLEAN": st.booleans(),
    }  # fmt: skip


def widget(entry):
    """Any value the host would let through: it checks ranges, but not for NaN."""
    if entry.io_type == "COMBO":
        return st.sampled_from(entry.options)
    if entry.io_type == "STRING":
        return st.text(max_size=20) | st.sampled_from(["../outside", "/outside", "a/b", "x" * 300, "a\0b"])
    if entry.id == "source_fps":  # one just large enough not to be refused means a long wait
        return st.floats(1, entry.max) | st.sampled_from([entry.min, math.nan, math.inf])
    top = min(entry.max, EDGES.get(entry.id, entry.max))
    if entry.io_type == "INT":
        return st.integers(entry.min, top)
    return st.floats(entry.min, top) | st.sampled_from([math.nan, math.inf, entry.min, entry.default])


FILES = st.sampled_from([
    "tiny.safetensors", "checkpoints/tiny.safetensors", "gone.safetensors", "../../x", "", "a\0b", "x" * 5000,
    "diffusers/..", "diffusers/", "checkpoints/", "diffusers/none",
])  # fmt: skip
TABLE = {
    "PureSVDLoadCheckpoint": {"ckpt_name": FILES},
    "PureSVDLoadParts": {"unet_name": FILES, "vae_name": FILES, "clip_name": FILES},
    "PureSVDImageToVideo": {}, "PureSVDSigmas": {}, "PureSVDGuider": {}, "PureSVDSample": {}, "PureSVDDecode": {},
    "PureSVDManifest": {}, "PureSVDInterpolate": {}, "PureSVDDeflicker": {}, "PureSVDColorLock": {},
}  # fmt: skip


def strategy(schema, by_socket):
    own = TABLE[schema.node_id]
    given = {
        e.id: own[e.id] if e.id in own else by_socket[e.io_type] if e.io_type in by_socket else widget(e)
        for e in schema.inputs
    }
    return st.fixed_dictionaries(
        {entry.id: given[entry.id] for entry in schema.inputs if not entry.optional},
        optional={entry.id: given[entry.id] for entry in schema.inputs if entry.optional},
    )


def inside(value):
    """All tensors of a nested value."""
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [found for part in parts for found in inside(part)]


def same_bytes(a, b):
    return (
        a.dtype == b.dtype
        and a.shape == b.shape
        and a.contiguous().view(-1).view(torch.uint8).equal(b.contiguous().view(-1).view(torch.uint8))
    )


def check_sentence(error):
    """One line that says what to do, raised by our own code."""
    sentence, where = str(error), traceback.extract_tb(error.__traceback__)[-1].filename
    assert Path(where).is_relative_to(ROOT), f"{sentence} comes from {where}"
    assert "\n" not in sentence
    assert 20 < len(sentence) < 700
    assert REMEDY.search(sentence), f"no remedy: {sentence}"


@pytest.fixture(scope="module")
def trio(host):
    write_checkpoint(host.base / "models" / "checkpoints" / "tiny.safetensors", dtype=torch.float32)
    return host.run("PureSVDLoadCheckpoint", ckpt_name="tiny.safetensors", weight_dtype="fp32")


def run(node, inputs):
    before = [x.clone() for x in inside(inputs)]
    try:
        with torch.inference_mode():
            out = node.execute(**inputs)
    except ValueError as error:
        check_sentence(error)
    else:
        for x in inside(list(out.args)):
            assert not x.is_floating_point() or bool(torch.isfinite(x.float()).all()), "an undefined result"
    assert all(map(same_bytes, inside(inputs), before)), "an input was changed"


def test_table_holds_every_node(host):
    assert {cls.define_schema().node_id for cls in host.pack("nodes").NODES} == set(TABLE)


@pytest.mark.parametrize("examples", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
@pytest.mark.parametrize("node_id", TABLE)
def test_any_input_gives_a_defined_result_or_one_sentence(node_id, examples, host, trio):
    node = host.node(node_id).PREPARE_CLASS_CLONE({"hidden_inputs": {}})  # as the host calls it
    inputs = strategy(node.define_schema(), sockets(trio))
    bounds = settings(
        max_examples=examples,
        derandomize=examples == FEW,  # the quick part says the same every time
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    bounds(given(inputs)(lambda given: run(node, given)))()
