"""Measures against clips whose motion, light and seam are known exactly."""

import json
import math
import subprocess
import sys

import pytest
import torch

from svd_core.quality import chart, report
from svd_core.quality.__main__ import main
from svd_core.quality.measures import measure
from svd_core.quality.report import motion
from svd_core.quality.seam import Seam
from svd_core.quality.sizes import matched
from tests.conftest import ROOT

from . import clips

SMALL = dict(frames=3, width=128, height=80)


def of(x, **options):
    return measure(x, **{"fps": 1.0, **options})


@pytest.mark.parametrize(
    "truth",
    [
        {"pan": 0.02},
        {"tilt": -0.006},
        {"zoom": 0.02},
        {"roll": 1.0},
        {"pan": -0.006, "tilt": 0.004, "zoom": -0.015, "roll": -0.7},
    ],
    ids=lambda truth: "+".join(truth),
)
def test_camera_is_found_within_5_percent(truth):
    x = clips.scene(3, **SMALL, **truth)
    found = of(x)["camera"]
    size = {"pan": 0.0, "tilt": 0.0, "zoom": 0.0, "roll": 0.0} | truth
    for name, value in size.items():
        slack = 0.05 * abs(value) if value else (0.02 if name == "roll" else 0.0003)
        assert found[name] == pytest.approx(value, abs=slack), name
    assert motion(of(x)) == pytest.approx(true_speed(truth), rel=0.05)


def true_speed(truth):
    """Mean length of the camera's flow in picture widths."""
    x, y = clips.grid(128, 80)
    to = clips.move(**truth).float() @ torch.stack([x, y, torch.ones_like(x)]).flatten(1)
    return float((to[:2] - torch.stack([x, y]).flatten(1)).norm(dim=0).mean()) / 2


@pytest.mark.parametrize("radius", [0.25, 0.45])
@pytest.mark.parametrize("pan", [0.0, 0.008])
def test_objects_are_found_within_15_percent_apart_from_the_camera(radius, pan):
    """A disc of up to a third of the picture."""
    x = clips.scene(4, **SMALL, pan=pan, disc=(radius, 0.012, 0.006))
    found = of(x)
    assert found["camera"]["pan"] == pytest.approx(pan, rel=0.05, abs=0.0003)
    beside = math.hypot(0.012 + pan, 0.006)  # the ground moves to the left under a pan to the right
    assert found["motion"]["object"] == pytest.approx(beside, rel=0.15)


def test_speed_grows_with_fps_and_not_with_size():
    x = clips.scene(5, frames=2, width=192, height=120, pan=0.01)
    small = torch.nn.functional.avg_pool2d(x, 2)
    speed = motion(of(x))
    assert motion(of(x, fps=7.0)) == pytest.approx(7 * speed)
    assert motion(of(small)) == pytest.approx(speed, rel=0.05)


@pytest.mark.parametrize("turn", [lambda x: x.flip(3), lambda x: x.flip(2), lambda x: x.flip(0)])
def test_mirrored_and_reversed_clips_move_as_fast(turn):
    x = clips.scene(6, **SMALL, pan=0.01, disc=(0.3, 0.01, 0.0))
    found, other = of(x)["motion"], of(turn(x))["motion"]
    for name in ("speed", "camera", "object"):
        assert other[name] == pytest.approx(found[name], rel=0.05)


def test_a_still_clip_does_not_move():
    x = clips.scene(7, frames=1).expand(4, -1, -1, -1)
    found = of(x, loop=True)
    assert found["motion"] == {
        "speed": 0, "camera": 0, "object": 0, "explained": None, "counts": False, "jerk": 0,
        "followed": None,
    }  # fmt: skip
    assert motion(found) == 0
    assert found["still"] == {"pairs": 3, "longest": 3}
    assert found["light"]["flicker"] < 1e-9  # rounding of the polynomial fit
    assert found["loop"] == {"position": None, "velocity": None, "there_and_back": None}


def flickering(kind):
    """A still picture in changing light, t 3 H W"""
    x = 0.2 + 0.5 * clips.scene(8, frames=1, width=128, height=80)
    light = 1 + 0.15 * torch.tensor([0.0, 1.0, -0.5, 0.7]).view(4, 1, 1, 1)
    where = torch.ones(1, 3, 80, 128)
    if kind == "colour":
        where[:, 1:] = 0.2
    if kind == "lamp":
        yy, xx = torch.meshgrid(torch.arange(80.0), torch.arange(128.0), indexing="ij")
        where = where * torch.exp(-((xx - 30) ** 2 + (yy - 20) ** 2) / 800)
    if kind == "noise":
        return (x + 0.04 * torch.randn(4, 3, 80, 128, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    return (x * (1 + (light - 1) * where)).clamp(0, 1)


@pytest.mark.parametrize("kind", ["gain", "colour", "lamp", "noise"])
def test_flicker_is_never_motion(kind):
    found = of(flickering(kind), fps=7.0)
    assert motion(found) == 0 or found["motion"]["speed"] < 1e-3, found["motion"]
    if kind in ("gain", "colour"):
        assert found["light"]["flicker"] > 0.01


def test_flicker_does_not_change_the_speed_of_what_moves():
    x = 0.2 + 0.5 * clips.scene(9, frames=4, width=128, height=80, pan=0.01)
    flicker = x * torch.tensor([1.0, 1.12, 0.95, 1.1]).view(4, 1, 1, 1)
    assert motion(of(flicker)) == pytest.approx(motion(of(x)), rel=0.05)


def loop(n, back=False):
    """A circle, or there and back, of n frames without the first one twice."""
    t = 2 * math.pi * torch.arange(n) / n
    path = [(0.03 * math.cos(a), 0.0 if back else 0.03 * math.sin(a)) for a in t.tolist()]
    x, y = clips.grid(96, 64)
    paint = clips.texture(10)
    return torch.stack([paint(x + u, y + v) for u, v in path]).clamp(0, 1)


def seam(frames):
    taken = Seam()
    for frame in frames:
        taken.add(frame[None])
    return taken.measures()


def test_a_closed_loop_has_no_seam_and_an_open_one_has():
    found = seam(loop(12))
    assert found["position"] == pytest.approx(1, abs=0.25)
    assert found["velocity"] == pytest.approx(1, abs=0.5)
    assert found["there_and_back"] < 0.3
    assert seam(loop(12)[:8])["position"] > 2
    assert seam(torch.cat((loop(12), loop(12)[:1])))["position"] == 0  # the first frame twice


def test_there_and_back_is_told_from_a_circle():
    assert seam(loop(12, back=True))["there_and_back"] == pytest.approx(1, abs=0.02)


def test_the_seam_of_a_loop_is_in_the_report():
    assert of(loop(3), loop=True)["loop"] == pytest.approx(seam(loop(3)))
    assert of(loop(2))["loop"] is None


def test_cuts_are_named_and_left_out_of_the_motion():
    x = torch.cat([clips.scene(seed, frames=3, width=96, height=64, pan=0.01) for seed in (11, 12)])
    found = of(x)
    assert found["cuts"] == [3]
    assert found["per_pair"]["speed"][2] is None
    assert motion(found) == pytest.approx(0.01, rel=0.06)
    only = of(x[2:4])
    assert (only["cuts"], motion(only), only["motion"]["explained"]) == ([1], 0.0, None)
    assert "every frame is a new scene" in report.moves(only)


def test_light_is_measured_in_shares_of_white():
    t = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0]).view(6, 1, 1, 1)
    x = 0.5 + 0.2 * (clips.scene(13, frames=1, width=64, height=40) - 0.5)
    found = of((x + 0.03 * t).clamp(0, 1))["light"]
    assert found["flicker"] == pytest.approx(0.03, rel=0.1)
    assert found["fast"] > 0.9
    assert found["jump"] == pytest.approx(0.06, rel=0.1)
    drift = of(x + torch.linspace(0, 0.1, 4).view(4, 1, 1, 1))["drift"]
    assert drift["brightness"] == pytest.approx(0.1, rel=1e-3)
    assert abs(drift["contrast"]) + abs(drift["saturation"]) + drift["colour"] < 1e-4


def test_noise_and_clipping_are_measured_as_they_are():
    g = torch.Generator().manual_seed(1)
    grey = torch.full((2, 3, 64, 96), 0.5) + 0.02 * torch.randn(2, 1, 64, 96, generator=g)
    assert of(grey)["detail"]["noise"] == pytest.approx(0.02, rel=0.1)
    grey[:, :, :16] = 1
    assert of(grey)["detail"]["clipped"] == pytest.approx(0.25, abs=0.01)


def test_closeness_is_to_the_photo_if_there_is_one():
    x = clips.scene(14, **SMALL, pan=0.01)
    own, other = of(x)["photo"], of(x, reference=(x[1] + 0.1).clamp(0, 1))["photo"]
    assert (own["given"], own["psnr_first"]) == (False, 100.0)
    assert other["given"]
    assert other["psnr_worst"] <= min(other["psnr_first"], other["psnr_last"]) < 21

    def embed(frames):
        return frames.mean((2, 3))

    seen = of(x, reference=x[0], embed=embed)["photo"]["encoder"]
    assert len(seen) == 3
    assert seen[0] == pytest.approx(0, abs=1e-6)


def test_the_centre_of_a_photo_is_compared():
    photo = torch.zeros(3, 20, 60)
    photo[:, :, 20:40] = 1
    assert torch.equal(matched(photo, 20, 20), torch.ones(3, 20, 20))
    assert matched(photo, 7, 9).shape == (3, 7, 9)


@pytest.mark.parametrize(
    "shape", [(1, 3, 40, 40), (2, 1, 40, 40), (3, 4, 1, 1), (2, 3, 2, 90), (3, 3, 5, 3)], ids=str
)
def test_any_clip_gives_a_defined_report(shape):
    x = torch.rand(shape, generator=torch.Generator().manual_seed(2))
    for clip in (x, torch.full(shape, 0.3), x.half()):
        text = report.as_json(of(clip, loop=True))
        assert json.loads(text)["frames"] == shape[0]
        assert chart.draw(of(clip, loop=True)).width == chart.WIDTH


@pytest.mark.parametrize(
    ("frames", "options", "sentence"),
    [
        (torch.rand(2, 3, 8, 8), {"fps": float("nan")}, "fps is nan; use the positive"),
        (torch.rand(2, 3, 8, 8), {"fps": 0.0}, "fps is 0.0; use the positive"),
        (torch.full((2, 3, 8, 8), float("nan")), {}, "holds NaN or infinite values; check"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), {}, "type torch.uint8; pass"),
        ([torch.rand(3, 8, 8), torch.rand(3, 9, 8)], {}, "frame 1 is 8x9, the first 8x8; use"),
        ([], {}, "the clip holds no frame; use"),
    ],
)  # fmt: skip
def test_other_clips_are_refused_in_a_sentence(frames, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        of(frames, **options)


def test_frames_are_not_kept():
    """Whatever the length, at most a few frames live at a time."""
    alive, most = set(), 0

    class Frame(torch.Tensor):
        def __del__(self):
            alive.discard(id(self))

    def frames():
        nonlocal most
        for _ in range(30):
            x = torch.full((3, 40, 60), 0.5).as_subclass(Frame)
            alive.add(id(x))
            most = max(most, len(alive))
            yield x

    of(frames())
    assert most <= 4


def test_the_command_measures_folders_and_compares_two(tmp_path, capsys):
    from PIL import Image

    for name, pan in (("slow", 0.01), ("fast", 0.02)):
        (tmp_path / name).mkdir()
        for i, frame in enumerate(clips.scene(15, frames=2, width=96, height=64, pan=pan)):
            picture = Image.fromarray((frame * 255).round().byte().movedim(0, -1).numpy())
            picture.save(tmp_path / name / f"{i:03d}.png")
    drawn = tmp_path / "chart.png"
    slow, fast = str(tmp_path / "slow"), str(tmp_path / "fast")
    assert main([slow, fast, "--fps", "10", "--chart", str(drawn)]) == 0
    said = capsys.readouterr().out
    row = next(line for line in said.splitlines() if line.startswith("motion.speed")).split()
    assert [float(v) for v in row[1:]] == pytest.approx([0.1, 0.2, 0.1], rel=0.08)
    assert Image.open(drawn).width == chart.WIDTH
    assert main([slow, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fps"] == 7
    assert main([str(tmp_path / "gone")]) == 1
    assert "name a video file or a folder" in capsys.readouterr().err


def test_the_command_reads_video_files(tmp_path, capsys):
    av = pytest.importorskip("av")
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = 128, 80, "yuv420p"
        stream.options = {"crf": "10"}
        for frame in clips.scene(16, **SMALL, pan=0.02):
            pixels = (frame * 255).round().byte().movedim(0, -1).contiguous().numpy()
            film.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        film.mux(stream.encode())
    assert main([str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["frames"], found["fps"]) == (3, 12)
    assert found["camera"]["pan"] == pytest.approx(12 * 0.02, rel=0.05)
    (tmp_path / "text.mp4").write_text("no video")
    assert main([str(tmp_path / "text.mp4")]) == 1
    assert "cannot be read as a video" in capsys.readouterr().err


STREAMED = """
import resource, sys
import torch
from svd_core.quality.measures import measure

sky = torch.rand(3, 40, 80, generator=torch.Generator().manual_seed(0))[None]
sky = torch.nn.functional.interpolate(sky, size=(320, 800), mode="bicubic").clamp(0, 1)[0]
frames = (sky[:, :288, i % 60 : i % 60 + 512].contiguous() for i in range(int(sys.argv[1])))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
measure(frames, fps=7)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="resource is for Unix")
def test_memory_does_not_grow_with_the_clip():
    """Peak of fresh processes in MiB; twelve times the frames would be 160 MiB more if they were kept."""

    def peak(frames):
        command = [sys.executable, "-c", STREAMED, str(frames)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
        return float(done.stdout)

    assert peak(96) < peak(8) + 20
