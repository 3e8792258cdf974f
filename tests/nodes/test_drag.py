"""Parts of a photo moved along drawn paths, in the real host."""

import json
import math

import pytest
import torch

assert_close = torch.testing.assert_close
FRAMES = 5
PATH = json.dumps([[[0.2, 0.5], [0.8, 0.5]]])


@pytest.fixture(scope="module")
def drag(host):
    """drag(image, **changes) -> images, mask, tracks"""

    def run(image, **changes):
        given = {"paths": PATH, "frames": FRAMES, "radius": 0.1}
        return host.run("PureSVDDrag", image=image, **{**given, **changes})

    return run


def test_what_is_drawn_moves_and_the_first_frame_is_the_photo(drag, photo):
    images, mask, tracks = drag(photo)
    assert torch.equal(images[:1], photo)
    assert images.shape == (FRAMES, 72, 96, 3)
    centres = [(m.sum(0) * torch.arange(96)).sum() / m.sum() for m in mask]
    assert_close(torch.stack(centres), torch.linspace(0.2, 0.8, FRAMES) * 95, rtol=0, atol=0.3)
    assert_close(tracks["track_path"][:, 0, 0], torch.linspace(0.2, 0.8, FRAMES) * 95)
    assert tracks["track_visibility"].all()


def test_tracks_go_in_as_they_come_out(drag, photo):
    images, mask, tracks = drag(photo)
    again = drag(photo, paths="", tracks=tracks)
    assert_close(again[0], images, rtol=0, atol=1e-4)
    assert_close(again[1], mask, rtol=0, atol=1e-4)
    assert_close(again[2]["track_path"], tracks["track_path"])


def test_tracks_of_the_host_are_understood(host, drag, photo):
    if "GenerateTracks" not in host.nodes.NODE_CLASS_MAPPINGS:
        pytest.skip("this host makes no tracks")
    ends = {"start_x": 0.2, "start_y": 0.5, "end_x": 0.8, "end_y": 0.5, "mid_x": 0.5, "mid_y": 0.5}
    tracks, _ = host.run(
        "GenerateTracks",
        width=96,
        height=72,
        **ends,
        num_frames=9,
        num_tracks=1,
        track_spread=0.0,
        interpolation="linear",
    )
    _, _, out = drag(photo, paths="", tracks=tracks)
    assert_close(out["track_path"][:, 0, 0], torch.linspace(0.2, 0.8, FRAMES) * 96)


def test_hidden_tracks_are_not_drawn(drag, photo):
    _, _, tracks = drag(photo)
    tracks["track_visibility"][2:] = False
    _, mask, _ = drag(photo, paths="", tracks=tracks)
    assert [bool(m.any()) for m in mask] == [True, True, False, False, False]


def test_a_mask_is_what_moves(drag, photo):
    part = torch.zeros(1, 72, 96)
    part[:, 30:40, 10:30] = 1
    _, mask, _ = drag(photo, mask=part)
    assert_close(mask[:1], part)
    assert torch.equal(drag(photo, mask=torch.zeros(1, 64, 64))[1], drag(photo)[1]), "no mask of Load Image"


def test_another_photo_size_keeps_the_drawing(drag, photo):
    """Paths are shares of the picture: twice the size moves twice as far."""
    large = torch.nn.functional.interpolate(photo.movedim(-1, 1), scale_factor=2, mode="bilinear").movedim(
        1, -1
    )
    _, _, small = drag(photo)
    _, _, tracks = drag(large)
    ratio = torch.tensor([191 / 95, 143 / 71])
    assert_close(tracks["track_path"], small["track_path"] * ratio)


def test_the_editor_is_shown_the_photo(host, photo):
    out = host.node("PureSVDDrag").execute(image=photo, paths=PATH, frames=2, radius=0.1)
    (file,) = out.ui["puresvd_photo"]
    assert file["type"] == "temp"
    assert file["filename"].endswith(".png")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"paths": ""}, "nothing is drawn"),
        ({"paths": "left"}, "not JSON"),
        ({"radius": math.nan}, "radius is nan"),
        ({"frames": 10**6}, "GiB"),
        ({"mask": torch.ones(1, 20, 96)}, "the mask is 96x20"),
        ({"tracks": {}}, "track_path of NoneType"),
        ({"tracks": {"track_path": torch.full((4, 1, 2), math.nan)}}, "NaN"),
        ({"tracks": {"track_path": torch.zeros(4, 101, 2)}}, "101 paths"),
        ({"easing": {"points": "up"}}, "easing is"),
    ],
)
def test_wrong_drawing_is_refused_in_a_sentence(drag, photo, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        drag(photo, **changes)


def test_paths_are_checked_before_anything_runs(host):
    check = host.node("PureSVDDrag").validate_inputs
    assert "nothing is drawn" in check()
    assert check(paths="", tracks=None) is True, "wired in"
    assert check(paths=None) is True
    assert check(paths=PATH) is True
    assert "put a single point under pins" in check(paths="[[[0.5, 0.5]]]")
    assert "not JSON" in check(paths="left")
