"""Long Video in the host: first chunk, joins, alike beginnings, closed ends, resuming, cancel."""

import json
import re

import pytest
import torch

from svd_core.control import anchor

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
        given = {"image": photo, **GIVEN, **changes}
        latent, report, fps, chart = host.run("PureSVDLongVideo", **trio, **given)
        assert chart.ndim == 4
        assert 0 <= float(chart.min()) < float(chart.max()) <= 1
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
    resumed, report, _ = long_video(model, seconds=1.5, anchor=0.7, begin={"samples": short})
    assert torch.equal(resumed, whole)
    assert [row["chunk"] for row in report["chunks"]] == [3]
    assert len(calls) == 3, "one chunk of three steps, both branches in one call"


@pytest.mark.parametrize("method", ["vibid", "trf", "forward"])
def test_loop_returns_and_leaves_out_the_doubled_frame(long_video, method):
    z, report, fps = long_video(close="loop", close_method=method)
    assert len(z) == 6
    assert fps == 6
    assert z.isfinite().all()
    assert set(report["seam"]) == {"position", "velocity", "there_and_back"}
    assert report["chunks"][-1]["end"]["last_error"] < 1e-6


def test_seam_of_a_loop_is_repaired_or_left(long_video):
    plain, *_ = long_video(close="loop")
    z, report, _ = long_video(close="loop", loop_repair=3.0)
    assert z.shape == plain.shape
    assert report["repair"]["kept"] or torch.equal(z, plain)


def test_report_compares_every_chunk_with_the_photo(ours, long_video):
    z, report, _ = long_video()
    first, last = (ours.vae.decode_exact(z[i : i + 1]) for i in (0, T - 1))
    found = report["chunks"][0]["saturation"]
    wanted = (last.amax(-1) - last.amin(-1)).mean() / (first.amax(-1) - first.amin(-1)).mean()
    assert found == pytest.approx(float(wanted), rel=1e-3)
    assert -1 <= report["chunks"][0]["likeness"] <= 1
    assert [row["chunk"] for row in report["chunks"]] == [1, 2]


def test_decode_in_pieces_is_exact_across_the_joins(host, ours, long_video, monkeypatch):
    """Four chunks, in the least memory, against all frames in one piece. A chunk decoded by itself is wrong:
    it is mixed over its own frames, and normalized by them.
    """
    z, *_ = long_video(seconds=13 / 7, anchor=0.7, width=32, height=32, steps=2)
    joins = range(T - 1, len(z) - 1, T - 1)
    assert len(joins) == 3
    whole = decoded(ours, z)
    decode, least, pieces = host.pack("svd_core.decode.exact"), [], []
    plan = host.pack("svd_core.decode.plan").Plan(keep=0.0, offload=False, peak=0)
    monkeypatch.setattr(decode, "plan", lambda *args, memory, **options: least.append(memory) or plan)
    monkeypatch.setattr(host.pack("nodes.host.vae"), "on_step", lambda: lambda i, n: pieces.append(n))
    made = host.run("PureSVDDecode", vae=ours.vae, samples={"samples": z}, memory=0.25)[0]
    assert least == [2**28]
    assert len(pieces) == pieces[0] > 2 * len(z)
    apart = torch.cat([decoded(ours, z[:T]), *(decoded(ours, z[j : j + T])[1:] for j in joins)])
    assert made.shape == whole.shape == apart.shape
    for j in joins:
        around = slice(j - 1, j + 2)
        torch.testing.assert_close(made[around], whole[around], rtol=1e-4, atol=1e-5)
        assert float((apart[around] - whole[around]).abs().max()) > 0.1
    torch.testing.assert_close(made, whole, rtol=1e-4, atol=1e-5)


def decoded(ours, z):
    """All frames in one piece, by the decoder itself: t H W c in 0..1"""
    frames = ours.vae.first_stage_model.decode(z, t=len(z))
    return (frames.movedim(1, -1) + 1).div(2).clamp(0, 1)


def test_progress_bar_counts_chunks_and_nothing_else(long_video, monkeypatch):
    import comfy.utils

    bar = []
    monkeypatch.setattr(
        comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, *_, **__: bar.append((value, total))
    )
    long_video()
    assert (bar[0], bar[-1]) == ((1, 6), (6, 6))
    assert [total for _, total in bar] == [6] * len(bar)
    assert bar == sorted(set(bar)), "never back; the host leaves out steps that follow within 100 ms"


def test_text_on_the_node_tells_the_time_left_and_ends_with_the_time_taken(host, long_video, monkeypatch):
    course, told = host.pack("nodes.host.course"), []
    monkeypatch.setattr(course, "show", told.append)
    monkeypatch.setattr(course, "PATIENCE", 0.0)
    long_video()
    texts = [re.sub(r"\d+ s\b", "some s", text) for text in told]
    left = [f"chunk {1 + done // 4} of 2, {done} of 6 steps, some s left" for done in range(1, 6)]
    assert texts == [*left, "6 steps · took some s"]


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


def test_anchor_holds_to_the_start_where_asked(ours, long_video):
    free, *_ = long_video()
    plain, *_ = long_video(anchor=1.0)
    decode, encode = (lambda z: ours.vae.decode_exact(z).movedim(-1, 1) * 2 - 1), ours.vae.encode_reference
    start, _ = anchor.ToStart(1.0, decode, encode)(free[:T], free[0])
    for to, first in (("chunk", plain[:T]), ("start", start)):
        held, *_ = long_video(anchor=1.0, anchor_to=to)
        assert torch.equal(held[:T], first), to
        assert torch.equal(held, plain) == (to == "chunk"), "chunk, as graphs from before the choice"


def test_cancel_gives_nothing_or_the_finished_chunks(host, ours, long_video, monkeypatch):
    import comfy.model_management as mm

    told = []
    monkeypatch.setattr(host.pack("nodes.host.course"), "show", told.append)

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
    assert told[-1] == "cancelled"
    kept, *_ = long_video(cancelling(), on_cancel="keep")
    whole, *_ = long_video()
    assert torch.equal(kept, whole[:T])
    searched, report, fps = long_video(
        cancelling(), on_cancel="keep", candidates=3, close="loop", seconds=1.5
    )
    assert torch.equal(searched, whole[:T])
    assert fps == 6, "as fast as the whole loop"
    assert "seam" not in report


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"close": "picture"}, "no end_image is wired in"),
        ({"seconds": float("nan")}, "is not a length"),
        ({"frames": 2}, "a window of 2 frames"),
        ({"anchor": float("nan")}, "anchor is nan"),
        ({"close": "loop", "loop_repair": float("nan")}, "loop_repair is nan"),
        ({"image": torch.zeros(2, 8, 8, 3)}, "image holds 2 pictures"),
    ],
)
def test_absurd_requests_get_one_sentence(long_video, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        long_video(**changes)


def test_model_that_orbits_gets_one_sentence(load, long_video):
    with pytest.raises(ValueError, match="this model is SV3D, which orbits an object"):
        long_video(load("sv3d_u.safetensors", kind="sv3d_u").model)
