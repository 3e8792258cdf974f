"""Training as a node of the real host, which runs it in inference mode."""

import pytest

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def clips():
    g = torch.Generator().manual_seed(0)
    return torch.rand(5, 64, 64, 3, generator=g)  # two clips of two frames, and one frame over


@pytest.fixture(scope="module")
def learn(host, make, clips):
    """learn(steps, **changes) -> lora, curve, report of two tiny clips"""
    name = make("tiny.safetensors")

    def run(steps=2, **changes):
        given = dict(ckpt_name=name, images=clips, fps=7.0, frames=2, width=64, height=64, rank=2, batch=1)
        given |= dict(parts="temporal attention", steps=steps, learning_rate=1e-2, bucket=-1.0)
        return host.run("PureSVDTrainLora", **given | dict(save_memory=True, seed=0) | changes)

    return run


@pytest.fixture
def nothing_left(host):
    """No run to go on from."""
    for path in (host.base / "output" / "puresvd_training").glob("*"):
        path.unlink()


def test_trained_lora_passes_through_the_hosts_own_nodes(host, ours, learn, nothing_left):
    """Applied, and saved, by ComfyUI's nodes; the saved file is taken whole by Load LoRA (SVD)."""
    lora, curve, report = learn()
    assert curve.ndim == 4
    assert curve.shape[-1] == 3
    assert "parameters trained; at least" in report
    assert "error at noise level 10: " in report
    assert not any(t.is_inference() for t in lora.values())
    ups = {k.removesuffix(".lora_up.weight") for k in lora if k.endswith(".lora_up.weight")}
    assert ups
    assert any(lora[f"{k}.lora_up.weight"].any() for k in ups), "nothing was learned"
    for bypass in (False, True):
        (model,) = host.run("LoraModelLoader", model=ours.model, lora=lora, strength_model=1.0, bypass=bypass)
        if not bypass:
            assert {key.removesuffix(".weight") for key in model.patches} == ups
    host.node("SaveLoRA").execute(lora, "loras/trained", 2)
    saved = next((host.base / "output" / "loras").glob("trained_2_steps*"))
    place = host.base / "models" / "loras" / "trained.safetensors"
    place.parent.mkdir(exist_ok=True)
    saved.rename(place)
    ones = dict.fromkeys(
        (
            "temporal_attention", "spatial_attention", "feed_forward", "projections", "convolutions",
            "embeddings", "mixers",
        ), 1.0,
    )  # fmt: skip
    model, told = host.run(
        "PureSVDLoadLora", model=ours.model, lora_name="trained.safetensors", strength=1.0, **ones
    )
    assert {key.removesuffix(".weight") for key in model.patches} == ups
    assert f"{len(ups)}/" in told


def test_cancel_gives_out_what_was_trained_and_the_same_run_goes_on(host, learn, nothing_left, monkeypatch):
    management = pytest.importorskip("comfy.model_management")
    training, steps = host.pack("nodes.host.train"), []

    def show(text):
        steps.append(int(text.split()[1]))
        if steps == [1, 2]:
            management.interrupt_current_processing(True)

    monkeypatch.setattr(training, "show", show)
    before = training.stopped
    lora, _, report = learn(steps=4)
    assert "stopped after step 2 of 4" in report
    assert lora
    assert not management.processing_interrupted(), "what comes after is not cancelled too"
    assert training.stopped == before + 1, "the host takes a stopped run for final"
    _, _, report = learn(steps=4)
    assert steps == [1, 2, 3, 4]
    assert "in 4 steps" in report


def test_what_does_not_fit_is_refused(learn):
    with pytest.raises(ValueError, match="holds 5 of the 6 frames of one clip; wire in a longer clip"):
        learn(frames=6)
    with pytest.raises(ValueError, match="width 100 is not a multiple of 64; use 64"):
        learn(width=100)
    with pytest.raises(ValueError, match="learning_rate is nan"):
        learn(learning_rate=float("nan"))
