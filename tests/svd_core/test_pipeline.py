"""The path without a host: the script of the README runs, and says what the presets say."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from svd_core import pipeline
from svd_core.checkpoint.presets import CHOICES, PRESETS, Preset
from svd_core.control import motion
from svd_core.sampling import guidance, noise_levels, samplers

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def script():
    """The README's example without a host."""
    return next(part for part in README.split("```python\n")[1:] if "pipeline" in part).split("```")[0]


def test_script_of_the_readme_makes_a_video(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    code = script().replace('"video.webp"', repr(str(tmp_path / "video.webp")))
    assert code.count("\n") <= 12
    exec(compile(code.replace("load(", "load(steps=2, path=", 1), "README", "exec"), {})  # noqa: S102  our own text
    with Image.open(tmp_path / "video.webp") as video:
        assert (video.n_frames, video.size) == (14, (256, 256))


def test_photo_is_turned_upright_as_its_camera_says(tmp_path):
    """Orientation 6: the camera was held on its side, so that the picture's left column is its top row."""
    picture = Image.new("RGB", (64, 64))
    picture.paste((255, 0, 0), (0, 0, 32, 64))
    turned = Image.Exif()
    turned[0x0112] = 6
    picture.save(tmp_path / "phone.png", exif=turned)
    x = pipeline.open_photo(tmp_path / "phone.png", Preset("square", 1, 64, 64))
    assert x[0, 0].mean(1)[[0, 63]].tolist() == [1.0, -1.0]


@pytest.fixture(scope="module")
def svd():
    return pipeline.load(ROOT / "svd_core/nano/svd_nano.safetensors", steps=1, frames=2)


def photo(svd, x=0.0):
    return torch.full((1, 3, svd.preset.height // 4, svd.preset.width // 4), x)


def test_each_seed_has_one_purpose(svd):
    """The photo's noise is of encode's seed, the video's of sample's."""
    a, b = (pipeline.encode(svd, photo(svd), seed=s) for s in (0, 1))
    assert torch.equal(a.context, b.context)
    assert not torch.equal(a.concat, b.concat)
    one, same, other = (pipeline.sample(svd, a, seed=s) for s in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_two_photos_give_each_single_video(svd):
    """One generator serves both, so the first of two is its single run;
    rounding differs with the batch alone.
    """
    both = torch.cat([photo(svd, -0.5), photo(svd, 0.5)])
    z = pipeline.sample(svd, pipeline.encode(svd, both), seed=3)
    alone = pipeline.sample(svd, pipeline.encode(svd, both[:1]), seed=3)
    torch.testing.assert_close(z[:2], alone, rtol=1e-3, atol=1e-3)
    assert pipeline.decode(svd, z).shape == (4, 3, *both.shape[2:])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("frames", 3), ("fps", 20), ("motion_bucket_id", 1), ("augmentation_level", 0.5), ("steps", 2)),
        *(
            ("curve", "constant"),
            ("min_cfg", 2.0),
            ("max_cfg", 4.0),
            ("schedule", "ays"),
            ("sampler", "heun"),
        ),
    ],
)
def test_every_value_of_a_preset_is_read(svd, name, value):
    start = dict(min_cfg=1.0, max_cfg=1.5, steps=3, curve="linear", schedule="karras")
    guided = replace(svd, preset=replace(svd.preset, **start))
    changed = replace(guided, preset=replace(guided.preset, **{name: value}))
    before, after = (pipeline.sample(one, pipeline.encode(one, photo(svd))) for one in (guided, changed))
    assert before.shape != after.shape or not torch.equal(before, after)


def test_preset_sizes_the_photo(tmp_path, svd):
    Image.new("RGB", (300, 100)).save(tmp_path / "wide.png")
    preset = replace(svd.preset, width=128, height=64)
    x = pipeline.open_photo(tmp_path / "wide.png", preset)
    assert x.shape == (1, 3, 64, 128)
    assert bool((x == -1).all())  # black


def test_names_in_presets_are_those_of_the_core():
    assert CHOICES == {
        "curve": tuple(guidance.CURVES),
        "schedule": tuple(noise_levels.SCHEDULES),
        "sampler": tuple(samplers.SAMPLERS),
    }
    assert all(getattr(preset, name) in CHOICES[name] for preset in PRESETS.values() for name in CHOICES)
    assert {"width", "height", *CHOICES} < {field.name for field in fields(Preset)}


def test_shaped_guidance_and_a_lower_start_reach_the_sampler(svd):
    guided = replace(svd, preset=replace(svd.preset, min_cfg=1.0, max_cfg=3.0, curve="linear"))
    condition = pipeline.encode(guided, photo(svd))
    plain = pipeline.sample(guided, condition)
    nowhere = pipeline.sample(guided, condition, shape=guidance.Shape(from_level=0.0))
    alone = replace(guided, preset=replace(guided.preset, max_cfg=1.0))
    assert torch.equal(nowhere, pipeline.sample(alone, condition))
    assert not torch.equal(nowhere, plain)
    start = motion.colour(condition.concat, svd.preset.frames)
    lower = pipeline.sample(guided, condition, start=(50.0, start))
    assert lower.shape == plain.shape
    assert not torch.equal(lower, plain)
