"""Two-frame methods: what each finds and cannot find on an exact denoiser, and what each equals."""

import pytest
import torch

from svd_core.control import two_frames as tf
from svd_core.control.bridge import Bridge, jumps, meeting
from svd_core.sampling import noise_levels
from svd_core.sampling import samplers as sampling

from . import oracle

T = oracle.T
SIGMAS = noise_levels.karras(25)
assert_close = torch.testing.assert_close


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def unit(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed))


class World:
    """The oracle's passes between the first and last frames of the clips to find."""

    def __init__(self, travels, clips):
        self.clips, bank = clips, oracle.bank(travels)
        self.ends = tf.Ends(clips[:, 0], clips[:, -1])
        self.a, self.b, self.u = (
            oracle.oracle(bank, pictures) for pictures in (clips[:, 0], clips[:, -1], None)
        )
        self.x = sampling.initial(unit(len(clips) * T, *clips.shape[2:]), SIGMAS[0])

    def pp(self, denoise):
        return tf.cfg_pp(lambda x, sigma: (denoise(x, sigma), self.u(x, sigma)), 1.0)


@pytest.fixture(scope="module")
def worlds():
    one_way = oracle.wanted([abs(travel) for travel in oracle.TRAVELS])
    return {"two-way": World(oracle.BOTH_WAYS, oracle.wanted()), "one-way": World(oracle.ONE_WAY, one_way)}


NO_ENDS = tf.Ends(None, None)


def forward_only(w, ends=NO_ENDS, share=0.0):
    prior = tf.prior_for(share, SIGMAS, target=w.ends.last)
    return tf.bounded(tf.plain(w.a), w.x, SIGMAS, ends=ends, t=T, prior=prior)


def trf(w):
    return sampling.euler(tf.fuse(w.a, w.b, t=T), w.x, SIGMAS)


def trf_reinjected(w):
    sampler = tf.reinject(sampling.euler, tf.climbs(25, until=0.8, length=2, times=3))
    return sampler(tf.fuse(w.a, w.b, t=T), w.x, SIGMAS, generator=seeded())


def vibid(w, **options):
    given = {"ends": w.ends, "t": T, "generator": seeded(), **options}
    return tf.vibid(w.pp(w.a), w.pp(w.b), w.x, SIGMAS, **given)


def vibid_plain(w):
    return tf.vibid(tf.plain(w.a), tf.plain(w.b), w.x, SIGMAS, ends=w.ends, t=T, generator=seeded())


# What each method finds, of 12 clips: at least, at most
@pytest.mark.parametrize(
    ("world", "method", "least", "most"),
    [
        ("two-way", forward_only, 0, 4),
        ("two-way", lambda w: forward_only(w, tf.Ends(None, w.ends.last)), 3, 10),
        ("two-way", lambda w: forward_only(w, w.ends, share=1.0), 12, 12),
        ("two-way", trf, 12, 12),
        ("two-way", trf_reinjected, 12, 12),
        ("two-way", vibid, 12, 12),
        ("two-way", lambda w: vibid(w, ends=NO_ENDS), 12, 12),
        ("two-way", vibid_plain, 12, 12),
        ("two-way", lambda w: vibid(w, prior=tf.prior_for(0.2, SIGMAS, target=w.ends.last)), 12, 12),
        ("one-way", forward_only, 0, 4),
        ("one-way", lambda w: forward_only(w, w.ends, share=1.0), 12, 12),
        ("one-way", trf, 0, 0),
        ("one-way", trf_reinjected, 0, 0),
        ("one-way", vibid, 0, 0),
        ("one-way", vibid_plain, 0, 0),
    ],
)
def test_method_finds_what_the_prior_lets_it_find(worlds, world, method, least, most):
    w = worlds[world]
    assert least <= oracle.solved(method(w), w.clips) <= most


def test_reversed_bank_gives_a_one_way_model_its_way_back(worlds):
    """The backward pass of a mirrored model: the switch by which a model that pans one way can be tested."""
    w = worlds["one-way"]
    back = oracle.oracle(oracle.bank(range(-8, 1, 2)), w.ends.last)
    assert oracle.solved(sampling.euler(tf.fuse(w.a, back, t=T), w.x, SIGMAS), w.clips) == 12


# Equalities on small random functions


def network(seed):
    """A smooth denoise that treats every frame and every place differently."""
    bias = unit(T, 2, 3, 3, seed=seed)

    def denoise(x, sigma):
        own = bias.repeat(len(x) // T, 1, 1, 1)
        return torch.tanh(x / (1 + sigma) + own) + own / (1 + sigma)

    return denoise


X, A, B = unit(T, 2, 3, 3, seed=3) * 700, unit(1, 2, 3, 3, seed=4), unit(1, 2, 3, 3, seed=5)
ENDS = tf.Ends(A, B)


def test_trf_equals_blending_two_euler_steps():
    f, b = network(1), network(2)
    sigma, sigma_next = SIGMAS[3], SIGMAS[4]
    w = torch.linspace(1, 0, T).view(-1, 1, 1, 1)
    ahead = tf.step(X, f(X, sigma), f(X, sigma), sigma, sigma_next)
    back = tf.flip(X, T)
    back = tf.flip(tf.step(back, b(back, sigma), b(back, sigma), sigma, sigma_next), T)
    D = tf.fuse(f, b, t=T)(X, sigma)
    assert_close(tf.step(X, D, D, sigma, sigma_next), w * ahead + (1 - w) * back, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", sampling.SAMPLERS)
def test_trf_runs_under_every_sampler_and_is_its_own_mirror_image(name):
    """TRF(A, B, noise) is TRF(B, A, flipped noise) backwards; noise between steps is not flipped with it."""
    f, b = network(1), network(2)
    sampler = sampling.SAMPLERS[name]
    given = {"generator": seeded()} if name in ("euler_ancestral", "lcm") else {}
    ahead = sampler(tf.fuse(f, b, t=T), X, SIGMAS, **given)
    assert ahead.isfinite().all()
    if not given:
        assert_close(tf.flip(sampler(tf.fuse(b, f, t=T), tf.flip(X, T), SIGMAS), T), ahead)


def test_lift_returns_to_the_noise_level():
    nothing = lambda x, sigma: (torch.zeros_like(x), torch.zeros_like(x))  # noqa: E731
    sigmas = torch.tensor([5.0, 2.0, 0.0])
    x = unit(T * 40, 2, 16, 16) * 5
    D, b = nothing(x, sigmas[0])
    lifted = tf.lift(tf.step(x, D, b, sigmas[0], sigmas[1]), sigmas[1], sigmas[0], seeded())
    assert float(lifted.std()) == pytest.approx(5, rel=0.01)  # 287 k samples: a deviation of 0.13 %


def test_half_step_is_plain_guidance_of_a_falling_scale():
    D_c, D_u = network(1), network(2)
    i, w = 5, 0.8
    sigma, sigma_next = SIGMAS[i], SIGMAS[i + 1]
    D, b = tf.cfg_pp(lambda x, s: (D_c(x, s), D_u(x, s)), w)(X, sigma)
    g = w / (1 - sigma_next / sigma)
    guided = D_u(X, sigma) + g * (D_c(X, sigma) - D_u(X, sigma))
    assert_close(
        tf.step(X, D, b, sigma, sigma_next),
        tf.step(X, guided, guided, sigma, sigma_next),
        rtol=1e-4,
        atol=1e-3,
    )


def test_motion_prior_is_the_published_cumulative_form():
    """Noise estimates: forward (x - D) / sigma; backward starts from the end picture and adds the flipped
    differences.
    """
    sigma = SIGMAS[4]
    D = network(1)(X, sigma)
    epsilon = (X - D) / sigma
    backward = [(X[-1] - B[0]) / sigma]
    for f in range(T - 1, 0, -1):
        backward.append(backward[-1] - (epsilon[f] - epsilon[f - 1]))
    cumulative = tf.flip(tf.flip(X, T) - sigma * torch.stack(backward), T)
    assert_close(
        tf.toward(D, tf.Prior(target=B), t=T), cumulative, rtol=1e-4, atol=1e-3
    )  # differences of 700-fold noise
    assert_close(
        tf.toward(D, tf.Prior(strength=0.5, target=B), t=T), (D + tf.toward(D, tf.Prior(target=B), t=T)) / 2
    )


def run_vibid(x=X, ends=ENDS, t=T, prior=tf.NO_PRIOR, seed=1):
    f, b = tf.plain(network(1)), tf.plain(network(2))
    return tf.vibid(f, b, x, SIGMAS, ends=ends, t=t, prior=prior, generator=seeded(seed))


@pytest.mark.parametrize(("share", "calls"), [(None, 25), (0.0, 100), (0.2, 130)])
def test_calls_are_those_stated(share, calls):
    """The forward pass alone; ViBiD with both branches; the same with five levels of MPD, thrice each."""
    seen = []
    denoise = lambda x, sigma: seen.append(1) or network(1)(x, sigma)  # noqa: E731
    if share is None:
        tf.bounded(tf.plain(denoise), X, SIGMAS, ends=ENDS, t=T)
    else:
        both = tf.cfg_pp(lambda x, sigma: (denoise(x, sigma), denoise(x, sigma)), 1.0)
        prior = tf.prior_for(share, SIGMAS, target=B)
        tf.vibid(both, both, X, SIGMAS, ends=ENDS, t=T, prior=prior, generator=seeded())
    assert len(seen) == calls


def test_no_share_of_the_prior_is_vibid_bit_for_bit():
    assert torch.equal(run_vibid(prior=tf.prior_for(0.0, SIGMAS, target=B)), run_vibid())
    assert not torch.equal(run_vibid(prior=tf.prior_for(0.1, SIGMAS, target=B)), run_vibid())


@pytest.mark.parametrize("run", [run_vibid, lambda: forward_small(), lambda: trf_small()])
def test_both_ends_are_the_pictures_bit_for_bit(run):
    out = run()
    assert torch.equal(out[0], A[0])
    assert torch.equal(out[-1], B[0])


def forward_small(x=X, ends=ENDS):
    return tf.bounded(
        tf.plain(network(1)), x, SIGMAS, ends=ends, t=T, prior=tf.prior_for(0.2, SIGMAS, target=B)
    )


def trf_small(x=X, ends=ENDS):
    return sampling.euler(tf.pinned(tf.fuse(network(1), network(2), t=T), ends, t=T), x, SIGMAS)


def test_pins_that_already_hold_change_nothing():
    D = torch.cat([A, unit(T - 2, 2, 3, 3), B])
    assert torch.equal(tf.pin(D, SIGMAS[3], ENDS, t=T), D)


def test_pins_fade_below_their_level():
    D, faded = unit(T, 2, 3, 3), tf.Ends(A, None, fade=0.4)
    assert torch.equal(tf.pin(D, torch.tensor(0.4), faded, t=T)[0], A[0])
    assert_close(tf.pin(D, torch.tensor(0.1), faded, t=T)[0], D[0] + (A[0] - D[0]) / 4)
    assert torch.equal(tf.pin(D, torch.tensor(0.0), faded, t=T), D)


@pytest.mark.parametrize("run", [forward_small, trf_small])
def test_two_videos_in_one_batch_equal_two_runs(run):
    other = unit(T, 2, 3, 3, seed=9) * 700
    both = run(torch.cat([X, other]), tf.Ends(torch.cat([A, B]), torch.cat([B, A])))
    assert_close(both, torch.cat([run(X, ENDS), run(other, tf.Ends(B, A))]))


def test_two_videos_in_one_batch_flip_one_by_one():
    both = tf.flip(torch.arange(6.0).view(6, 1), 3)
    assert both.flatten().tolist() == [2, 1, 0, 5, 4, 3]


def test_guidance_grows_away_from_each_passs_own_picture():
    """A mark on frame 0 of both passes touches the first frame going forward and the last one coming back."""

    def marked(x, sigma):
        out = torch.zeros_like(x)
        out[0] = 1
        return out

    D = tf.fuse(marked, marked, t=T)(X, SIGMAS[0])
    assert D.mean((1, 2, 3)).tolist() == [1, *[0] * (T - 2), 1]


# Re-injection


@pytest.mark.parametrize(
    ("n", "until", "length", "steps"),
    [(50, 0.8, 5, 55), (25, 0.8, 5, 25), (25, 0.5, 3, 37), (25, 0.8, 2, 29)],
)
def test_climbs_are_those_of_the_published_script(n, until, length, steps):
    levels, seen = noise_levels.karras(n), []
    sampler = tf.reinject(sampling.euler, tf.climbs(n, until=until, length=length, times=1))
    sampler(
        lambda x, s: seen.append(float(s)) or x / (1 + s),
        X,
        levels,
        generator=seeded(),
        on_step=lambda i, n: None,
    )
    assert len(seen) == steps


def test_climb_goes_from_level_ten_to_level_five():
    assert tf.climbs(50, until=0.8, length=5, times=1) == [(10, 5)]
    assert tf.climbs(50, until=0.8, length=5, times=2) == [(10, 5), (10, 5)]


def test_progress_counts_climbs_too():
    seen = []
    sampler = tf.reinject(sampling.euler, [(10, 5)])
    sampler(network(1), X, SIGMAS, generator=seeded(), on_step=lambda i, n: seen.append((i, n)))
    assert seen == [(i, 30) for i in range(30)]


def test_no_climbs_are_the_sampler_itself():
    out = tf.reinject(sampling.heun, [])(network(1), X, SIGMAS)
    assert torch.equal(out, sampling.heun(network(1), X, SIGMAS))


def test_methods_that_draw_say_what_they_need():
    with pytest.raises(ValueError, match="this sampler draws noise; pass generator="):
        tf.vibid(tf.plain(network(1)), tf.plain(network(2)), X, SIGMAS, ends=ENDS, t=T)
    with pytest.raises(ValueError, match="needs the last picture; give prior.target"):
        tf.toward(X, tf.Prior(), t=T)


# One clip by any method


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize(
    ("how", "passes"),
    [
        (Bridge(), 65),
        (Bridge(motion_prior=0), 50),
        (Bridge(method="trf"), 50),
        (Bridge(method="trf", climbs=1), 58),
        (Bridge(method="forward"), 25),
        (Bridge(method="forward", climbs=2, climb_length=3, climb_until=0.5), 49),
        (Bridge(pin="none"), 65),
        (Bridge(pin="end", method="forward"), 25),
    ],
)
def test_every_method_runs_counts_its_passes_and_pins_what_it_should(how, passes, guided):
    seen = []
    forward, backward = (
        tf.cfg_pp(lambda x, sigma, d=d: (d(x, sigma), d(x, sigma) / 2), 1.0) if guided else tf.plain(d)
        for d in (network(1), network(2))
    )
    counted = [lambda x, sigma, run=run: seen.append(1) or run(x, sigma) for run in (forward, backward)]
    out = how.run(*counted, X, SIGMAS, ends=ENDS, t=T, generator=seeded())
    assert len(seen) == how.passes(25) == passes
    assert torch.equal(out[-1], B[0]) == (how.pin != "none")
    assert torch.equal(out[0], A[0]) == (how.pin == "both")


def test_report_measures_ends_and_the_last_step():
    ramp = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 4, 2, 2)
    late = torch.cat([ramp[:4], ramp[4:] + 2])
    assert meeting(ramp, tf.Ends(ramp[:1], ramp[4:] * 2)) == {
        "first_error": 0,
        "last_error": 0.5,
        "end_jump": 1,
    }
    assert meeting(late, tf.Ends(None, None)) == {"first_error": None, "last_error": None, "end_jump": 3}
    assert meeting(torch.ones(3, 4, 2, 2), tf.Ends(None, None))["end_jump"] is None


def test_late_end_is_called_a_jump():
    (told,) = jumps([{"end_jump": 1.7}, {"end_jump": 5.02}, {"end_jump": None}])
    assert told.startswith("clip 2 jumps to its last picture, 5.0 times a usual step; raise motion_bucket_id")
