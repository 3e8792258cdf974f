"""Long Video in the host: its first chunk, its joins, a longer video begins alike, closed ends, resuming,
cancel.
"""

import json

import pytest
import torch

T = 4
GIVEN = {
    "seconds": 1.0,
    "width": 64,
    "height": 64,
    "frames": T,
    "motion_bucket_id": 127,
    "fps": 7,
    "augmentation_level": 0.02,
    "fit": "crop",
    "seed": 3,
    "steps": 3,
    "min_cfg": 1.0,
    "max_cfg": 2.5,
    "curve": "linear",
    "schedule": "karras",
    "sampler": "euler",
    "next_cfg": 0.0,
    "anchor": 0.0,
    "next_augmentation": 0.05,
    "token": "last",
    "candidates": 1,
    "candidate_until": 20.0,
    "close": "open",
    "close_method": "vibid",
    "on_cancel": "stop",
}


@pytest.fixture(scope="module")
def long_video(host, ours, photo):
    def run(model=None, **changes):
        trio = dict(model=model or ours.model, clip_vision=ours.clip_vision, vae=ours.vae)
        latent, report, fps = host.run("PureSVDLongVideo", **trio, image=photo, **{**GIVEN, **changes})
        return latent["samples"], json.loads(report.splitlines()[-1]), fps

    return run


def test_first_chunk_is_sample_video_and_a_longer_video_begins_with_the_shorter(
    ours, photo, describe, video, long_video
):
    conditioning = [item[0] for item in describe(ours, photo, seed=3)[:3]]
    short, report, fps = long_video()
    assert len(short) == 7
    assert fps == 7
    assert len(report["chunks"]) == 2
    assert torch.equal(short[:T], video(ours, photo, conditioning=conditioning))
    longer, *_ = long_video(seconds=1.5)
    assert len(longer) == 10
    assert torch.equal(longer[:7], short)


def test_finished_beginning_is_taken_over(ours, long_video):
    short, *_ = long_video(anchor=0.7)
    calls, model = [], ours.model.clone()
    model.set_model_unet_function_wrapper(
        lambda run, args: calls.append(1) or run(args["input"], args["timestep"], **args["c"])
    )
    whole, *_ = long_video(seconds=1.5, anchor=0.7)
    resumed, *_ = long_video(model, seconds=1.5, anchor=0.7, begin={"samples": short})
    assert torch.equal(resumed, whole)
    assert len(calls) == 3, "one chunk of three steps, both branches in one call"


@pytest.mark.parametrize("method", ["vibid", "trf", "forward"])
def test_loop_returns_and_leaves_out_the_doubled_frame(long_video, method):
    z, _, fps = long_video(close="loop", close_method=method)
    assert len(z) == 6
    assert fps == 6
    assert z.isfinite().all()


def test_closed_end_is_the_picture(ours, photo, long_video):
    end = 1 - photo[:, :64, :64]
    z, *_ = long_video(close="picture", end_image=end)
    assert len(z) == 7
    assert torch.equal(z[-1:], ours.vae.encode(end))


def test_candidates_and_anchor_and_token_change_later_chunks_only(long_video):
    plain, *_ = long_video()
    for changes in ({"candidates": 3}, {"token": "photo"}, {"next_augmentation": 0.2}, {"next_cfg": 1.0}):
        other, *_ = long_video(**changes)
        assert torch.equal(other[:T], plain[:T]), changes
        assert not torch.equal(other[T:], plain[T:]), changes


def test_cancel_gives_nothing_or_the_finished_chunks(ours, long_video):
    import comfy.model_management as mm

    def cancelling():
        model, calls = ours.model.clone(), []

        def run(call, args):
            calls.append(1)
            if len(calls) == 5:
                mm.interrupt_current_processing()
            return call(args["input"], args["timestep"], **args["c"])

        model.set_model_unet_function_wrapper(run)
        return model

    with pytest.raises(mm.InterruptProcessingException):
        long_video(cancelling())
    kept, *_ = long_video(cancelling(), on_cancel="keep")
    whole, *_ = long_video()
    assert torch.equal(kept, whole[:T])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"close": "picture"}, "no end_image is wired in"),
        ({"seconds": float("nan")}, "is not a length"),
        ({"frames": 2}, "a window of 2 frames"),
        ({"anchor": float("nan")}, "anchor is nan"),
    ],
)
def test_absurd_requests_get_one_sentence(long_video, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        long_video(**changes)
