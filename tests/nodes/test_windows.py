"""The host's context windows over our MODEL: every window is a clip of its own length."""

import pytest

torch = pytest.importorskip("torch")
FRAMES, LENGTH = 10, 4
GIVEN = {
    "context_length": LENGTH,
    "context_overlap": 2,
    "context_schedule": "standard_static",
    "context_stride": 1,
    "closed_loop": False,
    "fuse_method": "pyramid",
    "dim": 0,
    "freenoise": False,
}


@pytest.fixture(scope="module")
def windowed(host, ours):
    """windowed(**changes) -> MODEL with the host's context windows"""

    def run(**changes):
        given = {**GIVEN, **changes}
        wanted = host.node("ContextWindowsManual").INPUT_TYPES()["required"]
        extras = {"cond_retain_index_list": "", "split_conds_to_windows": False}
        extras |= {"latent_retain_index_list": "", "causal_window_fix": True}
        given |= {name: value for name, value in extras.items() if name in wanted and name not in changes}
        return host.run("ContextWindowsManual", model=ours.model, **given)[0]

    return run


@pytest.fixture(scope="module")
def conditioned(ours, photo, describe):
    """conditioned(frames) -> positive, negative, latent"""
    return lambda frames: [item[0] for item in describe(ours, photo, frames=frames)]


def has_anchors(host):
    return "causal_window_fix" in host.node("ContextWindowsManual").INPUT_TYPES()["required"]


@pytest.mark.parametrize(
    "changes",
    [{}, {"freenoise": True}, {"context_schedule": "looped_uniform", "closed_loop": True}],
    ids=["static", "freenoise", "loop"],
)
def test_windows_of_the_host_sample_a_longer_clip(ours, photo, video, windowed, conditioned, changes):
    z = video(ours, photo, model=windowed(**changes), conditioning=conditioned(FRAMES))
    assert z.shape[0] == FRAMES
    assert z.isfinite().all()


def test_each_window_is_handed_its_own_number_of_frames(host, ours, photo, video, windowed, conditioned):
    model, seen = windowed(), []

    def count(run, args):
        rows, told = len(args["input"]), args["c"]["num_video_frames"]
        assert rows % told == 0
        seen.append(told)
        return run(args["input"], args["timestep"], **args["c"])

    model.set_model_unet_function_wrapper(count)
    video(ours, photo, model=model, conditioning=conditioned(FRAMES))
    assert set(seen) == ({LENGTH, LENGTH + 1} if has_anchors(host) else {LENGTH})


def test_windows_without_overlap_are_clips_of_their_own(
    host, ours, photo, video, windowed, conditioned, error
):
    changes = {"context_overlap": 0, "fuse_method": "flat"}
    if has_anchors(host):
        changes["causal_window_fix"] = False
    flat = {"curve": "constant", "max_cfg": 2.0}
    z = video(ours, photo, model=windowed(**changes), conditioning=conditioned(2 * LENGTH), **flat)
    alone = video(ours, photo, conditioning=conditioned(LENGTH), **flat)  # the noise of a clip is a prefix
    assert error(z[:LENGTH], alone) < 1e-5


def test_windows_over_space_get_one_sentence(ours, photo, video, windowed, conditioned):
    with pytest.raises(ValueError, match="run over axis 2, the frames of a video are axis 0; set dim to 0"):
        video(ours, photo, model=windowed(dim=2), conditioning=conditioned(FRAMES))
