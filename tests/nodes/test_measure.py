"""Measuring in the host: what the sockets give, the image encoder's verdict, cancel, the sentences."""

import json

import pytest
import torch


@pytest.fixture(scope="module")
def clip():
    """IMAGE 3 40 64 3: a picture pushed to the left by a pixel a frame"""
    g = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 10, 17, generator=g)
    wide = torch.nn.functional.interpolate(coarse, size=(40, 68), mode="bicubic").clamp(0, 1)
    return torch.cat([wide[..., i : i + 64] for i in range(3)]).movedim(1, -1).contiguous()


@pytest.fixture
def run(host):
    def execute(images, **inputs):
        return host.run("PureSVDMeasure", **{"images": images, "fps": 8.0, "loop": False, **inputs})

    return execute


def test_the_frames_pass_through_and_the_report_says_how_fast_they_move(run, clip):
    images, report, chart, motion = run(clip)
    assert images is clip
    assert chart.ndim == 4
    assert chart.dtype == torch.float32
    assert 0 <= float(chart.min()) < float(chart.max()) <= 1
    found = json.loads(report)
    assert found["fps"] == 8
    assert found["camera"]["pan"] == pytest.approx(8 / 64, rel=0.05)
    assert motion == pytest.approx(8 / 64, rel=0.05)
    assert found["loop"] is None
    assert any("widths/s" in line for line in found["summary"])


@pytest.mark.parametrize("kind", ["ours", "native"])
def test_the_image_tower_says_how_close_the_clip_stays(request, run, clip, kind):
    tower = request.getfixturevalue(kind).clip_vision
    *_, report, _, _ = run(clip, reference=clip[:1], clip_vision=tower, loop=True)
    found = json.loads(report)
    first, middle, last = found["photo"]["encoder"]
    assert first == pytest.approx(0, abs=1e-5)
    assert min(middle, last) > first
    assert found["loop"]["position"] > 0


def test_the_tower_sees_what_the_video_model_saw(host, ours, clip):
    embed = host.pack("nodes.measure").encoder(ours.clip_vision)(clip[:1].movedim(-1, 1))
    encode = host.pack("nodes.host.encoders").image_encoder(ours.clip_vision)
    core = host.pack("svd_core.models.image_encoder")
    pixels = host.pack("nodes.convert").pixels(clip[:1])
    assert torch.equal(embed, encode(core.preprocess(pixels, ours.clip_vision.image_size)))


def test_cancel_stops_it(run, clip):
    import comfy.model_management as mm

    mm.interrupt_current_processing()
    with pytest.raises(mm.InterruptProcessingException):
        run(clip)


def test_a_rate_of_no_number_gets_a_sentence(run, clip):
    with pytest.raises(ValueError, match="fps is nan; use the positive number"):
        run(clip, fps=float("nan"))
