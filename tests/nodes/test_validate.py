"""Values that cannot be together are refused by the host before anything runs, in one sentence."""

import asyncio

import pytest

SIZES = {"width": 0, "height": 0}
REFUSED = [  # node, what is asked of it, what it says
    ("PureSVDSigmas", {"sigma_max": 1.0, "sigma_min": 2.0}, "sigma_min 2 must lie between 0 and sigma_max 1"),
    ("PureSVDSigmas", {"sigma_max": 0.0, "sigma_min": 0.002}, "sigma_max 0 is out of range; use 0.01 to"),
    ("PureSVDGuider", {"from_level": 1.0, "to_level": 5.0}, "from level 1 down to 5 is upside down"),
    ("PureSVDFollow", {"weak_level": 20.0, "strong_level": 30.0}, "strong_level 30 must lie below"),
    ("PureSVDInterpolate", {"source_fps": 1.0, "target_fps": 900.0, "slow_motion": 2.0}, "1,800 frames"),
    ("PureSVDSweep", {"first": -1.0, "last": 4.0, "spacing": "even ratios"}, "even ratios cannot lead"),
    ("PureSVDSweep", {"first": 1.0, "last": 4.0, "spacing": "even", "own_values": "1, x"}, "'x' is not a"),
    ("PureSVDSampleUntil", {"goal": "at most", "ladder": "seed and start level"}, "the goal is at most"),
    ("PureSVDBetween", {**SIZES, "height": 100}, "height 100 is not a multiple of 8"),
    ("PureSVDLongVideo", {**SIZES, "width": 8, "close": "open"}, "width 8 is not a multiple of 8 from 16"),
    ("PureSVDLongVideo", {**SIZES, "close": "picture"}, "no end_image is wired in"),
    ("PureSVDTrainLora", {"width": 100, "height": 0}, "width 100 is not a multiple of 64"),
    ("PureSVDImageToOrbit", {"size": 100, "orbit": "static"}, "100 is not a multiple of 8"),
    ("PureSVDImageToOrbit", {"orbit": "list", "azimuths": "90, 0", "elevations": "1, 2, 3"}, "2 azimuths"),
    ("PureSVDMotion", {"mean": "statistics", "statistics_name": "none"}, "no statistics 'none'"),
    ("PureSVDCameraMove", {"move": "Dolly In", "amount": 0.0}, "wire a depth map"),
    ("PureSVDDrag", {"paths": ""}, "nothing is drawn"),
    ("PureSVDManifest", {"filename_prefix": "../out"}, "names no file below the output folder"),
    ("PureSVDImageToVideo", {"width": 5000, "height": 576}, "width 5000 is out of range; use 0 to 4096"),
]
ALLOWED = [
    ("PureSVDSigmas", {"sigma_max": None, "sigma_min": 50.0}),  # wired
    ("PureSVDSigmas", {"sigma_max": "much", "sigma_min": 50.0}),  # the host refuses what is no number
    ("PureSVDGuider", {}),
    ("PureSVDGuider", {"from_level": 5.0, "to_level": 5.0}),
    ("PureSVDFollow", {"weak_level": 20.0, "strong_level": -1.0}),  # whose level the model decides
    ("PureSVDInterpolate", {"source_fps": None, "target_fps": 900.0, "slow_motion": 64.0}),
    ("PureSVDSweep", {"first": -1.0, "last": 4.0, "spacing": "even ratios", "own_values": "1, 2"}),
    ("PureSVDSampleUntil", {"goal": "at least", "ladder": "seed and start level"}),
    ("PureSVDLongVideo", {**SIZES, "close": "picture", "end_image": None}),
    ("PureSVDTrainLora", {"width": 128, "height": 0}),
    ("PureSVDMotion", {}),
    ("PureSVDCameraMove", {"move": "Dolly In", "amount": 0.0, "depth": None}),
    ("PureSVDDrag", {"paths": "", "tracks": None}),
    ("PureSVDImageToOrbit", {"size": 576, "orbit": "wave", "azimuths": "x"}),
]


@pytest.mark.parametrize(("node_id", "values", "said"), REFUSED)
def test_what_cannot_be_is_refused(host, node_id, values, said):
    assert said in str(host.node(node_id).validate_inputs(**values))


@pytest.mark.parametrize(("node_id", "values"), ALLOWED)
def test_what_may_be_passes(host, node_id, values):
    assert host.node(node_id).validate_inputs(**values) is True


@pytest.mark.parametrize(
    ("node_id", "names"),
    [("PureSVDSampleUntil", ["goal", "ladder"]), ("PureSVDMotion", ["mean", "statistics_name"])]
    + [("PureSVDImageToOrbit", ["orbit"])],
)
def test_null_in_place_of_a_choice_is_refused_when_the_node_runs(host, node_id, names):
    """Before that the host says the same of it as of a wire."""
    node, offered = host.node(node_id), host.pack("nodes.validate").offered
    defaults = {
        made.id: made.default or made.options[0] for made in node.define_schema().inputs if made.id in names
    }
    offered(node, **defaults)
    for name in names:
        with pytest.raises(ValueError, match=f"{name} is None; use one of"):
            offered(node, **{**defaults, name: None})


def test_every_default_passes(host):
    """A node as it is put down asks for nothing that cannot be."""
    for cls in host.pack("nodes").NODES:
        named = cls.validate_inputs.__code__
        if named.co_argcount == 1 or cls.define_schema().node_id == "PureSVDDrag":
            continue  # nothing is asked, or it must be drawn first
        defaults = {made.id: getattr(made, "default", None) for made in cls.define_schema().inputs}
        given = {name: defaults[name] for name in named.co_varnames[1 : named.co_argcount]}
        assert cls.validate_inputs(**given) is True, cls


def test_the_host_asks_before_it_runs_anything(host):
    """The error is at the node and names both inputs, and no node is executed."""
    import execution

    prompt = {
        "1": {
            "class_type": "PureSVDSigmas",
            "inputs": {"schedule": "karras", "steps": 4, "sigma_max": 1.0, "sigma_min": 2.0}
            | {"rho": 7.0, "denoise": 1.0},
        },
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }
    valid, _, _, errors = asyncio.run(execution.validate_prompt("check", prompt, None))
    assert not valid
    named = {error["extra_info"]["input_name"] for error in errors["1"]["errors"]}
    assert named == {"sigma_max", "sigma_min"}
    assert all("must lie between" in error["details"] for error in errors["1"]["errors"])
