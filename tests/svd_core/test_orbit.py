"""SV3D's orbits against the reference's own angles, and the object's place on white."""

import math

import pytest
import torch

from svd_core.conditioning import orbit

assert_close = torch.testing.assert_close


def test_static_orbit_has_the_references_angles():
    """linspace(0, 360, 22)[1:] mod 360 less its last, in radians; polar 80 degrees."""
    made = orbit.static()
    polar, azimuth = orbit.radians(made)
    wanted = torch.linspace(0, 360, 22, dtype=torch.float64)[1:] % 360
    wanted = ((wanted - wanted[-1]) % 360).deg2rad().float()
    assert_close(azimuth, wanted, rtol=0, atol=1e-6)
    assert_close(polar, torch.full((21,), math.radians(80.0)), rtol=0, atol=1e-6)
    assert made.azimuths[0] == pytest.approx(17.142857, abs=1e-6)
    assert made.azimuths[-2:] == (pytest.approx(342.857143, abs=1e-6), 0.0)


def test_the_other_direction_mirrors_the_orbit_and_ends_at_the_input_view():
    there, back = orbit.azimuths(), orbit.azimuths(direction=-1)
    assert_close(torch.tensor(back), (360 - torch.tensor(there)) % 360)
    assert back[-1] == 0


def test_a_wave_swings_about_its_elevation_and_ends_there():
    made = orbit.wave(elevation=10, amplitude=20, waves=2)
    assert made.elevations[-1] == 10
    assert max(made.elevations) == pytest.approx(30, abs=0.6)
    assert min(made.elevations) == pytest.approx(-10, abs=0.6)
    assert made.azimuths == orbit.static().azimuths
    assert orbit.wave(amplitude=0) == orbit.static()
    with pytest.raises(ValueError, match="lower elevation or amplitude"):
        orbit.wave(elevation=80, amplitude=20)


def test_a_wave_is_a_sine_of_whole_periods_whose_last_place_is_the_start():
    made = orbit.wave(4, elevation=5.0, amplitude=10.0)
    assert made.elevations == pytest.approx((15.0, 5.0, -5.0, 5.0), abs=1e-12)
    assert orbit.wave(8, elevation=5.0, amplitude=10.0, waves=2).elevations == pytest.approx(
        made.elevations * 2, abs=1e-12
    )


def test_a_wave_may_reach_89_degrees_and_no_more():
    assert orbit.wave(4, elevation=74.0, amplitude=15.0).elevations[0] == 89.0
    with pytest.raises(ValueError, match="reaches an elevation of 89.5 degrees, at most 89"):
        orbit.wave(4, elevation=74.5, amplitude=15.0)


def test_elevations_reach_from_pole_to_pole():
    polar, _ = orbit.radians(orbit.listed([0, 90, 180], [90, 0, -90]))
    assert_close(polar, torch.tensor([0.0, math.pi / 2, math.pi]))


def test_an_objects_own_size_is_kept_by_ratio_0():
    photo, alpha = torch.zeros(1, 3, 64, 96), torch.zeros(1, 1, 64, 96)
    alpha[..., 10:26, 40:72] = 1
    made = orbit.centred(photo, alpha, ratio=0, side=64)
    dark = (made[0, 0] < 0.5).nonzero()
    assert (dark.amin(0).tolist(), (dark.amax(0) + 1).tolist()) == ([24, 16], [40, 48])


def test_a_large_object_in_a_wide_square_needs_no_square_of_its_size():
    """65,536 pixels along a side: 16 GiB. Reduced first, the object fills the same part of the picture."""
    photo, alpha = torch.zeros(1, 3, 4096, 8), torch.ones(1, 1, 4096, 8)
    made = orbit.centred(photo, alpha, ratio=1 / 16, side=256)
    dark = made[0, 0, :, 127:129].amin(-1) < 0.99
    assert abs(int(dark.sum()) - 256 / 16) <= 2
    assert int(dark.nonzero().float().mean()) in (127, 128)


def test_a_half_covered_pixel_is_half_white():
    photo, alpha = torch.zeros(1, 3, 32, 32), torch.full((1, 1, 32, 32), 0.5)
    made = orbit.centred(photo, alpha, ratio=1.0, side=32)
    assert_close(made, torch.full((1, 3, 32, 32), 0.5), rtol=0, atol=2 / 255)  # three roundings to 8 bit


def test_lists_are_counted_from_their_last_and_stay_in_order():
    made = orbit.listed([90, 30, 60], [5])
    assert made.azimuths == (30, 330, 0)
    assert made.elevations == (5, 5, 5)
    for azimuth, elevation in (([], [5]), ([1, 2], [1, 2, 3]), ([1, math.nan], [1]), ([1, 2], [91])):
        with pytest.raises(ValueError, match="elevations"):
            orbit.listed(azimuth, elevation)


@pytest.mark.parametrize("ratio", [1.0, 0.917, 0.5])
def test_the_object_fills_the_ratio_in_the_middle_of_white(ratio):
    photo, alpha = torch.zeros(1, 3, 120, 200), torch.zeros(1, 1, 120, 200)
    photo[:, 0] = 1
    alpha[..., 10:70, 100:190] = 1
    made = orbit.centred(photo, alpha, ratio=ratio)
    assert made.shape == (1, 3, 576, 576)
    red = (made[0, 1] < 0.5).nonzero()
    low, high = red.amin(0), red.amax(0) + 1
    assert abs(int(high[1] - low[1]) - ratio * 576) <= 576 / 90
    assert_close((low + high) / 2, torch.tensor([288.0, 288.0]), rtol=0, atol=576 / 90 / ratio / 2 + 1)
    assert torch.equal(made[0, :, 0, 0], torch.ones(3)) or ratio == 1.0
    assert float(made[0, 0].min()) > 0.95, "no dark fringe"


def test_what_cannot_be_placed_is_refused():
    photo = torch.zeros(1, 3, 40, 200)
    with pytest.raises(ValueError, match="shows no object"):
        orbit.centred(photo, torch.zeros(1, 1, 40, 200))
    with pytest.raises(ValueError, match="less than a pixel"):
        orbit.centred(photo, torch.ones(1, 1, 40, 200), ratio=1e-300)
    with pytest.raises(ValueError, match="use a ratio above 0"):
        orbit.centred(photo, torch.ones(1, 1, 40, 200), ratio=0)
