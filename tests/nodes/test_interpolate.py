"""Interpolation and its companions in the host: sockets, progress, cancel,
and models of the host's own kind.
"""

import json
import os
from pathlib import Path

import pytest
import torch

from clients.puresvd_client import videos

WORKFLOW = Path(__file__).resolve().parents[2] / "workflows" / "api" / "interpolate_any_video.json"
OLDER = [Path(path) for path in os.environ.get("PURESVD_OLDER_HOSTS", "").split(os.pathsep) if path]


@pytest.fixture(scope="module")
def clip():
    g = torch.Generator().manual_seed(0)
    wide = torch.nn.functional.interpolate(
        torch.rand(1, 3, 6, 14, generator=g), size=(32, 72), mode="bicubic"
    )
    return (
        torch.cat([wide[..., 2 * i : 2 * i + 48] for i in range(4)]).clamp(0, 1).movedim(1, -1).contiguous()
    )


@pytest.fixture
def run(host):
    """run(node class, **inputs) -> its outputs"""

    def execute(name, **inputs):
        module = "interpolate" if name == "PureSVDInterpolate" else "postprocess"
        return getattr(host.pack(f"nodes.{module}"), name).execute(**inputs).args

    return execute


OPTIONS = dict(
    source_fps=6.0, target_fps=24.0, slow_motion=1.0, quality="fast", detect_cuts=True, cut_threshold=0.5
)


def test_frames_and_rate_come_out(run, clip):
    images, fps = run("PureSVDInterpolate", images=clip, **OPTIONS)
    assert images.shape == (13, 32, 48, 3)
    assert images.is_contiguous()
    assert fps == 24.0
    assert torch.equal(images[::4], clip)


def test_slow_motion_keeps_the_rate(run, clip):
    images, fps = run("PureSVDInterpolate", images=clip, **{**OPTIONS, "slow_motion": 2.0})
    assert (len(images), fps) == (25, 24.0)


class Toy(torch.nn.Module):
    """The smallest model of the host's interpolation contract: a cross-fade that wants multiples of 32."""

    pad_align = 32

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.sizes = []

    def get_dtype(self):
        return self.weight.dtype

    def memory_used_forward(self, shape, dtype):
        return 1024

    def extract_features(self, img):
        return img.mean()

    def forward(self, img0, img1, timestep, cache):
        assert set(cache) >= {"img0", "img1"}
        self.sizes.append(tuple(img0.shape))
        return torch.lerp(img0, img1, timestep) * self.weight


def patcher(model):
    import comfy.model_patcher

    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_host_model_makes_the_frames_on_the_same_grid(run, clip, channels):
    images = torch.cat((clip, clip[..., :1]), -1)[..., :channels]
    model = Toy()
    out, _ = run("PureSVDInterpolate", images=images, interp_model=patcher(model), **OPTIONS)
    assert set(model.sizes) == {(1, 3, 32, 64)}
    assert torch.equal(out[::4], images)
    assert torch.allclose(out[2], images[:2].mean(0), atol=1e-5)


def test_a_host_model_does_not_blend_cuts(run, clip):
    two = torch.cat((clip[:1], 1 - clip[1:2].flip(1)))
    out, _ = run("PureSVDInterpolate", images=two, interp_model=patcher(Toy()), **OPTIONS)
    assert all(torch.equal(x, two[0]) or torch.equal(x, two[1]) for x in out)


def test_companions_return_the_same_frames_in_new_light(run, clip):
    flickering = clip * torch.tensor([1, 0.9, 1, 0.9]).view(-1, 1, 1, 1)
    (steady,) = run("PureSVDDeflicker", images=flickering, window=24.0, strength=1.0)
    assert steady.shape == clip.shape
    before, after = (x.mean((1, 2, 3)).diff().abs().max() for x in (flickering, steady))
    assert after < before / 4  # what is left is the slope of so short a clip
    (locked,) = run("PureSVDColorLock", images=flickering, anchor_frames=1, strength=1.0, reference=clip[:1])
    assert torch.allclose(locked.mean((1, 2)), clip[:1].mean((1, 2)), atol=5e-3)  # values cut off at 0 and 1


def test_cancel_stops_every_node(run, clip):
    import comfy.model_management as mm

    for name, options in (
        ("PureSVDInterpolate", OPTIONS),
        ("PureSVDDeflicker", {"window": 24.0, "strength": 1.0}),
        ("PureSVDColorLock", {"anchor_frames": 1, "strength": 1.0}),
    ):
        mm.interrupt_current_processing()
        with pytest.raises(mm.InterruptProcessingException):
            run(name, images=clip, **options)


def test_impossible_rates_get_a_sentence(run, clip):
    with pytest.raises(ValueError, match="source_fps is nan; use a positive number"):
        run("PureSVDInterpolate", images=clip, **{**OPTIONS, "source_fps": float("nan")})


def written(path, clip, fps):
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=fps)
        stream.height, stream.width, stream.pix_fmt = *clip.shape[1:3], "yuv420p"
        for picture in (clip * 255).byte().numpy():
            film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        film.mux(stream.encode())
    return path


def smoothed(client, path, folder):
    """Number of frames and rate of the file that the bundled graph makes of this one."""
    av = pytest.importorskip("av")
    prompt = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    prompt["1"]["inputs"]["file"] = client.upload(path)
    (item,) = videos(client.wait(client.queue(prompt), every=0.1, timeout=120))
    with av.open(str(client.download(item, folder))) as film:
        return len(list(film.decode(video=0))), film.streams.video[0].average_rate


def test_any_video_becomes_smoother_over_http(server, clip, tmp_path):
    assert smoothed(server.client, written(tmp_path / "clip.mp4", clip, 8), tmp_path / "out") == (23, 60)


@pytest.mark.parametrize("path", OLDER, ids=lambda path: path.name)
def test_any_video_becomes_smoother_on_older_hosts(path, start_server, clip, tmp_path):
    with start_server(path) as older:
        assert smoothed(older.client, written(tmp_path / "clip.mp4", clip, 8), tmp_path / "out") == (23, 60)


@pytest.mark.parametrize(
    ("rates", "sentence"),
    [
        (
            {"source_fps": 0.001, "target_fps": 30.0},
            "30,000 frames for each one, at most 1,000 .* use a higher source_fps",
        ),
        (
            {"source_fps": 1.0, "target_fps": 1000.0},
            "1,001 frames of .* GiB in all, .* GiB of memory are free; use fewer",
        ),
    ],
)
def test_endless_results_are_refused_before_they_are_begun(run, rates, sentence):
    clip = torch.zeros(1, 1, 1, 1).expand(2, 4320, 7680, 3)  # takes no memory itself
    with pytest.raises(ValueError, match=sentence):
        run("PureSVDInterpolate", images=clip, **{**OPTIONS, **rates})
