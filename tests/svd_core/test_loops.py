"""What counts as a loop: stills, jumps and turns are told apart, and a seam is sampled anew."""

import pytest
import torch
from torch.testing import assert_close

from svd_core.control import bridge, seam_repair, two_frames
from svd_core.quality import loops
from svd_core.sampling import noise_levels, samplers

from . import oracle

N, SIDE = 12, 48


def slid(shifts, side=SIDE):
    """Frames of one texture, slid to the right by so many pixels each, around and around."""
    g = torch.Generator().manual_seed(0)
    x = torch.nn.functional.avg_pool2d(torch.rand(1, 3, side + 8, side + 8, generator=g), 9, stride=1)[0]
    x = (x - x.mean()) * 3 + 0.5
    return torch.stack([x.roll(int(shift), 2) for shift in shifts]).clamp(0, 1)


def judged(shifts):
    return loops.judge(slid(shifts), fps=7, loop=True)


def test_circle_is_a_loop():
    found = judged(range(0, SIDE, SIDE // N))
    assert found["seam"]["position"] == pytest.approx(1, abs=1e-4)
    assert abs(found["seam"]["there_and_back"]) < 0.3
    assert loops.faults(found) == []


def test_pulse_is_not_motion():
    g = torch.Generator().manual_seed(1)
    swelling = torch.cat([slid([0]) + 0.04 * torch.randn(1, 3, SIDE, SIDE, generator=g) for _ in range(N)])
    found = loops.judge(swelling.clamp(0, 1), fps=7, loop=False)
    assert found["motion"]["explained"] < loops.PULSE
    found["motion"]["speed"] = 0.03
    assert loops.faults(found)[0].startswith("this clip pulses or breaks up more than it moves")


@pytest.mark.parametrize(
    ("shifts", "sentence"),
    [
        ([0] * N, "nearly a still, 0.0000 picture widths a second; raise motion_bucket_id"),
        (range(0, 2 * N, 2), "jumps at its seam"),
        ([*range(0, SIDE, 4), SIDE], "stalls at its seam, 0"),  # the last frame is the first again
        ([*range(0, 14, 2), *range(10, 0, -2)], "goes back the way it came"),
    ],
    ids=["still", "jump", "stall", "bounce"],
)
def test_what_is_no_loop_is_named(shifts, sentence):
    assert sentence in "; ".join(loops.faults(judged(shifts)))


def test_small_pictures_follow_the_checkpoints_colours():
    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    z = torch.tensor([0.5, 0, -0.5, 9]).view(1, 4, 1, 1).expand(2, 4, 3, 5)
    x = loops.pictures(z, colours)
    assert x.shape == (2, 3, 12, 20)
    assert_close(x[0, :, 0, 0], torch.tensor([0.75, 0.5, 0.25]))


# Seam repair


def circle(n, turn=0.0):
    """Points on a circle as latents; `turn` bends the way at the seam."""
    a = 2 * torch.pi * torch.arange(n) / n
    z = torch.stack([a.cos(), a.sin(), 0 * a, 0 * a], 1)
    z[0] += turn
    return z.view(n, 4, 1, 1)


@pytest.mark.parametrize(("n", "t"), [(13, 14), (26, 14), (40, 25)])
def test_window_lies_around_the_seam_with_two_ends(n, t):
    where = seam_repair.window(n, t)
    assert len(where) == t
    assert 0 in where[1:-1]
    assert n - 1 in where[1:-1]
    assert bool(((where[1:] - where[:-1]) % n == 1).all())
    assert (where[0] == where[-1]) == (n == t - 1)


def test_levels_begin_where_asked():
    sigmas = torch.tensor([700.0, 10, 4, 1, 0.1, 0])
    assert_close(seam_repair.levels(sigmas, 3.0), torch.tensor([3.0, 1, 0.1, 0]))


def test_repair_is_taken_where_it_helps_and_moves_little():
    bent, good = circle(13, turn=0.1), circle(13)
    where = seam_repair.window(13, 14)
    mended = seam_repair.mend(bent, t=14, remake=lambda x: good[where])
    assert mended.kept
    assert mended.after < mended.before
    assert_close(mended.z, good)
    assert mended.moved == pytest.approx(0.1 * 2 / float(bent[0].norm()), rel=1e-4)


@pytest.mark.parametrize(
    "remake",
    [lambda x: x, lambda x: x + torch.randn(x.shape, generator=torch.Generator().manual_seed(0)) * 3],
    ids=["no better", "too far"],
)
def test_repair_that_does_not_help_is_left_out(remake):
    bent = circle(26, turn=0.1)
    mended = seam_repair.mend(bent, t=14, remake=remake)
    assert not mended.kept
    assert torch.equal(mended.z, bent)
    assert mended.sentence().endswith("left as it was")


def test_repair_holds_the_ends_of_its_window():
    z = circle(26, turn=0.1)
    out = seam_repair.mend(z, t=14, remake=lambda x: circle(26)[seam_repair.window(26, 14)] * 1.01).z
    inside = seam_repair.window(26, 14)[1:-1]
    outside = [i for i in range(26) if i not in inside.tolist()]
    assert torch.equal(out[outside], z[outside])
    assert not torch.equal(out, z)


# On an exact model of moving clips


@pytest.mark.parametrize("method", bridge.METHODS)
@pytest.mark.parametrize(("travels", "moves"), [((-oracle.W, oracle.W), True), ((0,), False)])
def test_loops_of_a_model_that_knows_circles_close_and_stills_are_told(method, travels, moves):
    """A blob goes once around a picture whose edges meet, in either direction, or stands still."""
    clips, sigmas = oracle.bank(travels), noise_levels.karras(25)
    picture = oracle.frame(5)[None]
    run = two_frames.plain(oracle.oracle(clips, picture))
    noise = torch.randn(oracle.T, *picture.shape[1:], generator=torch.Generator().manual_seed(0))
    how = bridge.Bridge(method, motion_prior=0.0)
    z = how.run(
        run,
        run,
        samplers.initial(noise, sigmas[0]),
        sigmas,
        ends=two_frames.Ends(picture, picture),
        t=oracle.T,
        generator=torch.Generator().manual_seed(1),
    )
    z = bridge.joined([z], loop=True)
    found = loops.judge(loops.pictures(z / 3, torch.eye(4, 3)), fps=7, loop=True)
    if moves:
        assert 0.5 < found["seam"]["position"] < 1.5
        assert found["seam"]["there_and_back"] < 0.5
        told = loops.faults(found)
        assert [fault for fault in told if "pulses" not in fault] == []  # a blob too small to be followed
    else:
        assert "nearly a still" in loops.faults(found)[0]
