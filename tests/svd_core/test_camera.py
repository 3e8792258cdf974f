"""Camera moves over a photo: where pixels go, in closed form, and which of them come from the photo."""

import math

import pytest
import torch

from svd_core.control import camera, parallax
from svd_core.control.easing import progress
from svd_core.frames.flow import luma, step
from svd_core.frames.warp import warp

assert_close = torch.testing.assert_close
HEIGHT, WIDTH = 96, 128
STEPS = progress(t=5)
FLAT = ("pan", "tilt", "zoom", "roll", "turn", "nod")
AMOUNTS = {"pan": 0.1, "tilt": -0.1, "zoom": math.log(1.2), "roll": 4.0, "turn": 5.0, "nod": -4.0}


def texture(x, y):
    """Smooth in every direction, so that bilinear reading is near the function itself: 3 values in 0..1."""
    waves = [(0.35, 0.2), (-0.15, 0.3), (0.25, -0.27)]
    return torch.stack([0.5 + 0.24 * ((a * x + b * y).sin() + (b * x - a * y + 1).cos()) for a, b in waves])


def grid(height=HEIGHT, width=WIDTH):
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64), indexing="ij"
    )
    return x, y


@pytest.fixture(scope="module")
def photo():
    return texture(*grid())[None].float()


def homographies(kind, by=STEPS, **more):
    return camera.homographies(kind, by * AMOUNTS.get(kind, 0.0), width=WIDTH, height=HEIGHT, **more)


@pytest.mark.parametrize("kind", FLAT)
def test_frames_are_the_photo_read_where_the_move_says(photo, kind):
    """Oracle: the photo's function evaluated at H^-1 u; 0.01 is bilinear reading of its shortest wave."""
    H = homographies(kind)
    frames, mask = camera.film(photo, H)
    for frame, one, seen in zip(frames, H, mask):
        x, y = camera.apply(one.inverse(), *grid())
        wanted = texture(x, y).float()
        assert float(((frame - wanted).abs() * seen).max()) < 0.02
        assert seen.mean() > 0.6


@pytest.mark.parametrize("kind", FLAT)
def test_the_clip_has_the_flow_of_the_move(photo, kind):
    """What is left of the flow between neighbours without the move's, by least squares: 0.05 px at most."""
    H = homographies(kind)
    frames, _ = camera.film(photo, H)
    asked = camera.flow(H[3] @ H[2].inverse(), width=WIDTH, height=HEIGHT)
    left = [
        step(luma(frames[2:3]), warp(luma(frames[3:4]), v))[..., 20:-20, 24:-24].norm(dim=1).mean()
        for v in (asked, 0.8 * asked)
    ]
    assert float(left[0]) <= 0.05
    assert float(left[1]) > 0.07, "a fifth too little would be seen"


@pytest.mark.parametrize("border", ["generate", "replicate"])
@pytest.mark.parametrize("kind", FLAT)
def test_the_first_frame_is_the_photo(photo, kind, border):
    frames, mask = camera.film(photo, homographies(kind), border=border)
    assert torch.equal(frames[:1], photo)
    assert torch.equal(mask[:1], torch.ones_like(mask[:1]))


def test_a_still_camera_shows_the_photo_on_every_frame(photo):
    frames, mask = camera.film(photo, homographies("lock"))
    assert torch.equal(frames, photo.expand(5, -1, -1, -1))
    assert mask.all()


def test_moves_go_where_their_names_say():
    """What lies in the middle of the picture goes the other way than the camera; a zoom in enlarges."""
    ahead = (torch.tensor((WIDTH - 1) / 2), torch.tensor((HEIGHT - 1) / 2))
    wanted = {
        "Pan Left": (1, 0),
        "Pan Right": (-1, 0),
        "Pan Up": (0, 1),
        "Pan Down": (0, -1),
        "Turn Left": (1, 0),
        "Turn Right": (-1, 0),
        "Turn Up": (0, 1),
        "Turn Down": (0, -1),
    }
    for name, (right, down) in wanted.items():
        move = camera.MOVES[name]
        by = torch.tensor([move.sign * move.amount])
        x, y = camera.apply(camera.homographies(move.kind, by, width=WIDTH, height=HEIGHT)[0], *ahead)
        assert (round(float(x - ahead[0])) * right > 0) == (right != 0), name
        assert (round(float(y - ahead[1])) * down > 0) == (down != 0), name
    edge = (torch.tensor(100.0), ahead[1])
    zoomed = camera.apply(homographies("zoom")[-1], *edge)
    assert float(zoomed[0]) > 100
    rolled = camera.apply(homographies("roll")[-1], *edge)
    assert float(rolled[1]) < float(edge[1]), "the camera turns clockwise, the picture the other way"


def test_pan_moves_by_shares_of_the_width_and_zoom_keeps_its_centre():
    x, y = camera.apply(homographies("pan")[-1], torch.tensor(50.0), torch.tensor(40.0))
    assert (float(x), float(y)) == (pytest.approx(50 - 0.1 * WIDTH), 40.0)
    centre = (0.25, 0.8)
    at = torch.tensor(centre[0] * (WIDTH - 1)), torch.tensor(centre[1] * (HEIGHT - 1))
    for kind in ("zoom", "roll"):
        kept = camera.apply(homographies(kind, centre=centre)[-1], *at)
        assert_close(torch.stack(kept), torch.stack(at).double())
    H = homographies("zoom")[-1]
    x, _ = camera.apply(H, torch.tensor([10.0, 110.0]), torch.tensor([5.0, 5.0]))
    assert float(x[1] - x[0]) == pytest.approx(100 * 1.2)


@pytest.mark.parametrize("kind", ["pan", "tilt"])
def test_generate_leaves_out_what_the_photo_does_not_show(photo, kind):
    H = homographies(kind)
    frames, mask = camera.film(photo, H)
    side = WIDTH if kind == "pan" else HEIGHT
    strip = math.ceil(AMOUNTS["pan"] * side) + camera.ERODED
    free = (mask[-1, 0] == 0).all(dim=0 if kind == "pan" else 1).sum()
    assert abs(int(free) - strip) <= 1
    _, all_in = camera.film(photo, H, border="replicate")
    assert all_in.all()


@pytest.mark.parametrize("kind", FLAT)
def test_overscan_never_leaves_the_photo_and_wastes_none(photo, kind):
    """A ramp outside of which there is only repetition: every frame keeps its slope;
    the crop touches the photo's border.
    """
    H = homographies(kind)
    crop = camera.overscan(H.inverse(), width=WIDTH, height=HEIGHT)
    x = torch.tensor([0.0, WIDTH - 1, 0, WIDTH - 1], dtype=torch.float64)
    y = torch.tensor([0.0, 0, HEIGHT - 1, HEIGHT - 1], dtype=torch.float64)
    seen = torch.stack([torch.stack(camera.apply(crop @ one.inverse(), x, y)) for one in H])
    assert seen.min() > -1e-9
    assert seen[:, 0].max() < WIDTH - 1 + 1e-9
    assert seen[:, 1].max() < HEIGHT - 1 + 1e-9
    spare = [
        (WIDTH - 1 - (seen[:, 0].max() - seen[:, 0].min())),
        (HEIGHT - 1 - (seen[:, 1].max() - seen[:, 1].min())),
    ]
    assert min(map(float, spare)) < 1e-6
    _, mask = camera.film(photo, H, border="overscan")
    assert mask.all()


def test_zooming_in_needs_no_overscan(photo):
    H = homographies("zoom")
    plain, _ = camera.film(photo, H)
    overscanned, _ = camera.film(photo, H, border="overscan")
    assert_close(overscanned, plain, rtol=0, atol=1e-4)


def test_shrinking_does_not_alias():
    """Columns of period 2.5 px, halved, lie beyond what pixels show: nearly grey remains, not a slow wave."""
    x, _ = grid()
    stripes = (0.5 + 0.5 * (2 * math.pi * x / 2.5).sin())[None, None].float()
    H = camera.homographies("zoom", torch.tensor([-math.log(2.0)]), width=WIDTH, height=HEIGHT)
    frames, _ = camera.film(stripes, H)
    assert float(frames[0, 0, 30:60, 40:80].std()) < 0.06


# Through space


def test_constant_depth_is_the_homography_of_its_plane(photo):
    """H = K (R + T n / d) K^-1 with n along the axis; the frames agree with reading the photo by it."""
    d, K = 3.0, camera.intrinsics(WIDTH, HEIGHT, 55.0)
    depth = torch.full((1, 1, HEIGHT, WIDTH), d)
    n = torch.tensor([[0.0, 0, 1]], dtype=torch.float64)
    for kind, by in (("dolly", 0.1), ("orbit", 6.0)):
        R, T = parallax.poses(kind, STEPS * by, at=d)
        H = K @ (R + T[..., None] @ n / d) @ K.inverse()
        for one, r, s in zip(H, R, T):
            assert_close(
                parallax.forward(depth, r, s, K),
                camera.flow(one, width=WIDTH, height=HEIGHT),
                rtol=0,
                atol=1e-4,
            )
        frames, mask = parallax.film(photo, depth, R, T, fov=55.0)
        wanted, seen = camera.film(photo, H)
        both = mask * seen
        assert float(((frames - wanted).abs() * both).max()) < 0.03
        assert both.mean() > 0.6


def test_near_things_pass_before_far_ones():
    """A near square, a far ground: an orbit to the right carries it left and uncovers a strip."""
    photo, near = torch.zeros(1, 3, HEIGHT, WIDTH), torch.zeros(1, 1, HEIGHT, WIDTH)
    photo[:, 0, 32:64, 48:80] = 1
    near[..., 32:64, 48:80] = 1
    depth = parallax.distance(near)
    assert (float(depth.min()), float(depth.max())) == (1.0, parallax.FARTHEST)
    R, T = parallax.poses("orbit", torch.tensor([0.0, 5.0]), at=2.0)
    frames, mask = parallax.film(photo, depth, R, T, fov=55.0)
    assert torch.equal(frames[0], photo[0])
    x = torch.arange(WIDTH)
    middle = float((frames[1, 0, 48] * x).sum() / frames[1, 0, 48].sum())
    assert middle < 63.5 - 3
    assert mask[0].all()
    hidden = (mask[1, 0, 48] == 0).nonzero().flatten()
    assert any(64 < int(i) < 80 for i in hidden), "what the square hid is not claimed to be known"
    R, T = parallax.poses("dolly", torch.tensor([0.2]), at=1.0)
    larger, _ = parallax.film(photo, depth, R, T, fov=55.0)
    assert float(larger[0, 0].sum()) == pytest.approx(float(photo[0, 0].sum()) / 0.8**2, rel=0.06)


def test_overscan_through_space_keeps_the_border_out(photo):
    depth = parallax.distance(photo[:, :1])
    R, T = parallax.poses("orbit", STEPS * 6, at=2.0)
    flows = [parallax.forward(depth, r, s, camera.intrinsics(WIDTH, HEIGHT, 55.0)) for r, s in zip(R, T)]
    crop = parallax.window(flows)
    assert crop[0] < 1
    for v in flows:
        moved = parallax.crop_flow(v, crop)
        assert float(moved[0, 0, :, 0].max()) <= 1e-3
        assert float(moved[0, 0, :, -1].min()) >= -1e-3


# Easing


def test_easing_starts_at_nothing_and_goes_through_its_points():
    points = [(0.0, 0.2), (0.25, 0.3), (0.5, 0.9), (1.0, 1.0)]
    for interpolation in ("linear", "monotone_cubic"):
        found = progress(points, t=5, interpolation=interpolation)
        assert_close(found, torch.tensor([0.0, 0.1, 0.7, found[3], 0.8]))
        assert (found.diff() >= 0).all()
    assert_close(progress(t=11), torch.linspace(0, 1, 11))
    assert progress([(0.5, 0.5)], t=3).tolist() == [0, 0, 0]
    assert progress(t=1).tolist() == [0]


def test_a_cubic_never_overshoots_its_points():
    points = [(0.0, 0.0), (0.1, 0.0), (0.2, 1.0), (0.8, 1.0), (1.0, 0.0)]
    found = progress(points, t=401)
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1 + 1e-6


@pytest.mark.parametrize("points", [[], [(0.0, math.nan), (1.0, 1.0)]])
def test_easing_without_numbers_is_refused(points):
    with pytest.raises(ValueError, match="easing"):
        progress(points, t=3)
