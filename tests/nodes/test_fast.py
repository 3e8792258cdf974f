"""Reuse of deep features on a MODEL: exact where off, equal to the core, refused where it cannot know."""

from dataclasses import asdict

import pytest
import torch

from svd_core.sampling.reuse import Pace
from tests.conftest import NANO
from tests.nodes.conftest import Trio


@pytest.fixture(scope="module")
def nano(host, describe):
    folder = host.base / "models" / "checkpoints"
    (folder / "nano.safetensors").symlink_to(NANO)
    trio = Trio(*host.run("PureSVDLoadCheckpoint", ckpt_name="nano.safetensors", weight_dtype="fp32"))
    photo = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    return trio.model, [item[0] for item in describe(trio, photo, width=64, height=64, frames=4)]


def sampled(host, model, told, *, scale=2.0, steps=20):
    positive, negative, latent = told
    options = dict(min_cfg=1.0, max_cfg=scale, curve="linear", schedule="karras", sampler="euler")
    given = dict(positive=positive, negative=negative, latent=latent, seed=1, steps=steps)
    (out,) = host.run("PureSVDSample", model=model, **given, **options)
    return out["samples"]


@pytest.fixture
def runs(host, monkeypatch):
    """Every run that reused, as it ended."""
    ended = []
    kind = host.pack("nodes.host.fast").Reuse
    monkeypatch.setattr(kind, "end", lambda self, end=kind.end: (ended.append(self), end(self)))
    return ended


def fast(host, model, mode="experimental", **own):
    return host.run("PureSVDFast", model=model, mode=mode, **own)[0]


def test_off_is_the_very_model(host, nano):
    assert fast(host, nano[0], "off") is nano[0]


def test_where_nothing_is_reused_the_bytes_are_the_same(host, nano, runs):
    model, told = nano
    plain = sampled(host, model, told, steps=5)
    for own in ({"tau": 0.0, "uncond_every": 1}, {"tolerance": 0.0}):
        assert torch.equal(sampled(host, fast(host, model, **own), told, steps=5), plain)
    assert [(r.reused, r.unguided) for r in runs] == [(0, 0), (0, 0)]


def test_both_passes_are_saved_and_let_go_of(host, nano, runs):
    model, told = nano
    plain = sampled(host, model, told)
    found = sampled(host, fast(host, model, tolerance=1.0), told)
    (run,) = runs
    assert asdict(run.pace) == asdict(Pace(0.2, branch=1, tolerance=1.0, uncond_every=2))
    assert run.guided == 20
    assert run.unguided == 8  # every other one from the 4th to the 18th
    assert run.reused > 0
    assert not run.kept
    assert run.delta is None
    assert not torch.equal(found, plain)
    assert float((found - plain).square().mean().sqrt() / plain.square().mean().sqrt()) < run.risk
    assert torch.equal(sampled(host, model, told), plain)  # the model itself is as it was


def test_another_nodes_patch_of_blocks_keeps_every_pass_whole(host, nano, runs):
    model, told = nano
    patched = model.clone()
    patched.set_model_output_block_patch(lambda h, skip, options: (h * 1.01, skip))
    plain = sampled(host, patched, told, steps=5)
    assert torch.equal(sampled(host, fast(host, patched, tolerance=1.0), told, steps=5), plain)
    assert runs[0].report() == "Nothing reused: another node acts on single blocks."


def test_a_model_of_another_loader_is_refused(host, nano):
    model = nano[0].clone()
    model.model = torch.nn.Identity()
    with pytest.raises(ValueError, match="wire in the one of Load Video Checkpoint"):
        fast(host, model)


def test_an_interrupted_run_leaves_nothing(host, nano, runs):
    model, told = nano
    quick = fast(host, model, tolerance=1.0)

    def stop(args):
        if float(args["sigma"].max()) < 1:
            raise InterruptedError
        return args["denoised"]

    broken = quick.clone()
    broken.set_model_sampler_post_cfg_function(stop)
    with pytest.raises(InterruptedError):
        sampled(host, broken, told)
    assert not runs[0].kept
    assert "puresvd_reuse" not in broken.model_options["transformer_options"]
