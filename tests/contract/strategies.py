"""Inputs for every node: mostly what it is used with, now and then anything that can be wired or typed."""

import math

import torch
from hypothesis import strategies as st

DTYPES = [
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float64,
    torch.float8_e4m3fn,
    torch.uint8,
    torch.int64,
    torch.bool,
    torch.complex64,
]
FILLS = {
    "usual": (0, 1),
    "black": (0, 0),
    "white": (1, 1),
    "over": (-0.5, 1.5),
    "bytes": (0, 255),
    "huge": (-1e38, 1e38),
}
SPOTS = [math.nan, math.inf, -math.inf]
EDGES = {"frames": 26, "steps": 3, "target_fps": 30.0, "slow_motion": 4.0}  # more takes long
FLOAT, SEEDS = st.just(torch.float32), st.integers(0, 99)


WILD = st.shared(st.booleans(), key="wild")  # one draw for all inputs of a node


@st.composite
def mostly(draw, usual, odd):
    """`odd` about one time in ten, in every other set of inputs: a node with many is to run as well."""
    return draw(odd if draw(WILD) and draw(st.integers(0, 9)) == 9 else usual)


FRAMES = mostly(st.sampled_from([1, 2, 26]), st.just(1000))
SIDES = mostly(
    st.sampled_from([(1, 1), (1, 17), (16, 16), (33, 20)]), st.sampled_from([(2, 8192), (8192, 1)])
)


def tensor(shape, dtype, fill, spot, seed):
    low, high = FILLS[fill]
    x = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * (high - low) + low
    if spot is not None and x.numel():
        x.view(-1)[seed % x.numel()] = spot
    return x.to(dtype)


def tensors(shapes):
    """Usual values, and all others, of usual shapes; shapes with an axis of 0, one too many or too few."""
    fills, spots = st.sampled_from(list(FILLS)), st.none() | st.sampled_from(SPOTS)
    usual = st.builds(tensor, shapes, FLOAT, st.sampled_from(["usual", "black", "white"]), st.none(), SEEDS)
    odd_values = st.builds(tensor, shapes, st.sampled_from(DTYPES), fills, spots, SEEDS)
    odd_shapes = st.builds(tensor, shapes.flatmap(broken), FLOAT, st.just("usual"), st.none(), SEEDS)
    return mostly(usual, odd_values | odd_shapes | st.sampled_from([None, [], "text", 3]))


def broken(shape):
    zeros = [[0 if i == axis else n for i, n in enumerate(shape)] for axis in range(len(shape))]
    return st.sampled_from([*zeros, shape[1:], [1, *shape], [*shape[:-1], 7], [shape[0], 5, *shape[2:]]])


@st.composite
def image_shapes(draw, most=1000):
    """b H W c, small where there are many"""
    b, (H, W) = min(most, draw(FRAMES)), draw(SIDES)
    if b > 2 and H * W > 256:
        H, W = 16, 16
    if b > 26:
        H, W = 2, 3
    return [b, H, W, draw(st.integers(1, 4))]


@st.composite
def latent_shapes(draw):
    """t 4 h w, small where there are many"""
    t, (h, w) = draw(FRAMES), draw(mostly(st.sampled_from([(8, 8), (1, 1), (3, 5)]), st.just((1, 1024))))
    if t > 2:
        h, w = (1, 1) if t > 26 else (2, 2)
    return [t, 4, h, w]


def conditioning():
    shapes = mostly(st.just([1, 1, 16]), st.sampled_from([[1, 1, 1024], [1, 16], [0, 1, 16], [2, 3, 16]]))
    context = st.builds(tensor, shapes, FLOAT, st.just("usual"), st.none(), SEEDS)
    photos = mostly(
        st.builds(tensor, st.just([1, 4, 8, 8]), FLOAT, st.just("usual"), st.none(), SEEDS),
        tensors(latent_shapes()),
    )
    known = {"motion_bucket_id": st.just(127), "fps": st.just(7), "augmentation_level": st.floats(0, 1)}
    details = st.fixed_dictionaries(known, optional={"concat_latent_image": photos})
    entry = st.tuples(context, details).map(list)
    return mostly(
        st.lists(entry, min_size=1, max_size=1), st.lists(entry, max_size=2) | st.sampled_from([None, "text"])
    )


def by_socket(trio):
    model, clip_vision, vae = map(st.just, trio)
    return {
        "IMAGE": tensors(image_shapes()),
        "LATENT": st.fixed_dictionaries({"samples": tensors(latent_shapes())}),
        "MODEL": model,
        "CLIP_VISION": clip_vision,
        "VAE": vae,
        "CONDITIONING": conditioning(),
        "INTERP_MODEL": st.none(),
        "HOOKS": st.none(),
        "BOOLEAN": st.booleans(),
        "MASK": st.none() | tensors(image_shapes(most=2).map(lambda shape: shape[:3])),
        "TRACKS": st.none(),
        "CURVE": st.none() | st.lists(st.tuples(st.floats(), st.floats(0, 1)), max_size=4),
    }


def widget(entry):
    """Any value the host would let through: it checks ranges, but not for NaN."""
    if entry.io_type == "COMBO":
        return st.sampled_from(entry.options)
    if entry.io_type == "STRING":
        return mostly(
            st.just("a/b"),
            st.text(max_size=20) | st.sampled_from(["../outside", "/outside", "x" * 300, "a\0b"]),
        )
    top = min(entry.max, EDGES.get(entry.id, entry.max))
    if entry.io_type == "INT":
        return st.integers(entry.min, top)
    return mostly(st.floats(entry.min, top), st.sampled_from([math.nan, math.inf, entry.min, entry.max]))


FILES = mostly(
    st.sampled_from(["tiny.safetensors"]),
    st.sampled_from(
        [
            "gone.safetensors",
            "../../x",
            "",
            "a\0b",
            "x" * 5000,
            "diffusers/..",
            "diffusers/",
            "checkpoints/",
            "diffusers/none",
        ]
    ),
)
PARTS = FILES.map(lambda name: f"checkpoints/{name}")
SIZES = mostly(st.sampled_from([0, 16, 24, 64]), st.integers(0, 64))
RATES = mostly(
    st.floats(1, 1000), st.sampled_from([0.001, math.nan, math.inf])
)  # between them lies a long wait
CLIPS = st.sampled_from([1, 2, 5])
PATHS = mostly(
    st.sampled_from(
        [
            '{"paths": [{"points": [[0.5, 0.5], [0.7, 0.4]]}]}',
            (
                '{"paths": [{"points": [[0.2, 0.5], [0.9, 1.4], [-1, 0]], "turn": 30, "scale": 0.5}], "pins":'
                " [[0.1, 0.1]]}"
            ),
        ]
    ),
    st.text(max_size=20)
    | st.sampled_from(
        ["{}", "[]", "null", '{"paths": [{"points": [[NaN, 0]]}]}', '{"paths": [[[-3, 0], [0, 0]]]}']
    ),
)

TABLE = {
    "PureSVDLoadCheckpoint": {"ckpt_name": FILES},
    "PureSVDLoadParts": {"unet_name": PARTS, "vae_name": PARTS, "clip_name": PARTS},
    "PureSVDImageToVideo": {"image": tensors(image_shapes(most=2)), "width": SIZES, "height": SIZES},
    "PureSVDInterpolate": {"source_fps": RATES},
    "PureSVDMotion": {
        "mean": mostly(st.sampled_from(["photo colour", "none"]), st.sampled_from(["photo", "statistics"]))
    },
    "PureSVDFast": {},
    "PureSVDCameraMove": {
        "image": tensors(image_shapes(most=1)),
        "frames": CLIPS,
        "amount": mostly(st.just(0.0), st.floats(-2, 100)),  # 0: the move's own
        "moving": mostly(st.none(), tensors(image_shapes(most=1).map(lambda shape: shape[:3]))),
    },
    "PureSVDFollow": {
        "images": tensors(st.just([2, 32, 32, 3])),
        "latent": st.fixed_dictionaries({"samples": tensors(st.just([2, 4, 4, 4]))}),
        "weak_level": st.sampled_from([-1.0, 75.0, 700.0]),
        "strong_level": mostly(st.sampled_from([-1.0, 0.0, 5.0]), st.just(math.nan)),
        "mask": st.none() | tensors(st.just([2, 32, 32])),
    },
    "PureSVDDrag": {"image": tensors(image_shapes(most=1)), "paths": PATHS, "frames": CLIPS},
    "PureSVDImageToOrbit": {
        "image": tensors(image_shapes(most=1)),
        "size": st.sampled_from([64, 72]),
        "frames": CLIPS,
        "orbit": mostly(st.sampled_from(["static", "wave"]), st.just("list")),
        "ratio": mostly(st.floats(0.3, 1), st.floats(0, 1)),
        "azimuths": mostly(st.just(""), st.text(max_size=20)),
        "elevations": mostly(st.just(""), st.text(max_size=20)),
    },
    "PureSVDLongVideo": {
        "image": tensors(image_shapes(most=1)),
        "seconds": mostly(st.just(0.5), st.sampled_from([math.nan, 0.51])),
        "width": SIZES,
        "height": SIZES,
        "frames": st.just(4),
        "fps": st.sampled_from([7, 8]),
        "steps": st.sampled_from([1, 2]),
        "candidates": st.sampled_from([1, 2]),
        "end_image": tensors(image_shapes(most=1)),
        "begin": st.none(),
        "close": mostly(st.sampled_from(["open", "loop"]), st.just("picture")),
    },
    "PureSVDBetween": {
        "start_image": tensors(image_shapes(most=1)),
        "end_image": tensors(image_shapes(most=1)),
        "width": SIZES,
        "height": SIZES,
        "frames": mostly(st.sampled_from([3, 4]), st.sampled_from([1, 2])),  # something lies between three
        "steps": st.sampled_from([1, 2]),
    },
    "PureSVDSigmas": {},
    "PureSVDGuider": {},
    "PureSVDSample": {},
    "PureSVDDecode": {},
    "PureSVDManifest": {},
    "PureSVDLoadLora": {"lora_name": FILES},
    "PureSVDLoraHook": {"lora_name": FILES},
    "PureSVDTrainLora": {
        "ckpt_name": FILES,
        "images": tensors(st.just([2, 16, 16, 3])),
        "frames": mostly(st.just(2), st.sampled_from([0, 1, 3])),
        "width": mostly(st.just(64), st.just(32)),
        "height": st.just(64),
        "rank": mostly(st.just(2), st.just(256)),
        "steps": st.just(1),
        "batch": st.just(1),
    },
    "PureSVDLoadControlNet": {"control_net_name": FILES},
    "PureSVDDeflicker": {},
    "PureSVDColorLock": {},
    "PureSVDMeasure": {},
    "PureSVDSampleUntil": {"tries": st.just(1)},
    "PureSVDSweep": {"own_values": mostly(st.sampled_from(["", "1, 2.5"]), st.text(max_size=20))},
    "PureSVDContactSheet": {  # lists, as the host hands them over
        "images": st.lists(tensors(st.sampled_from([[1, 16, 16, 3], [2, 9, 33, 1]])), min_size=1, max_size=2),
        "width": st.lists(st.sampled_from([0, 8, 64]), min_size=1, max_size=1),
        "columns": st.lists(st.integers(0, 64), min_size=1, max_size=1),
        "frames": st.lists(st.integers(1, 64), min_size=1, max_size=1),
        "labels": mostly(st.none(), st.lists(st.text(max_size=20), max_size=3)),
        "numbers": mostly(st.none(), st.lists(st.floats(), max_size=3)),
    },
}


def inputs(schema, trio):
    """Values for all inputs of a node, by its row of the table, else by socket,
    else by the widget's range.
    """
    row, sockets = TABLE[schema.node_id], by_socket(trio)
    values = {}
    for entry in schema.inputs:
        values[entry.id] = row.get(entry.id, sockets.get(entry.io_type))
        if values[entry.id] is None:
            values[entry.id] = widget(entry)
    optional = {entry.id for entry in schema.inputs if entry.optional}
    return st.fixed_dictionaries(
        {name: value for name, value in values.items() if name not in optional},
        optional={name: values[name] for name in optional},
    )
