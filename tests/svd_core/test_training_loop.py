"""The training loop: resuming, refusing, stopping, averaging; on a linear model that takes no time."""

import errno
import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close

from svd_core.checkpoint import write
from svd_core.checkpoint.whole import replace_file
from svd_core.training import state
from svd_core.training.loop import Run, Training, train
from svd_core.training.optimizer import Optimizer, orthogonalise

RUN = Run("tiny", steps=8, lr=0.05, warmup=2, bf16=False, muon=True, ema=0.9, save_seconds=0.0)


def make_model():
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))
    for p in model.parameters():
        nn.init.normal_(p, std=0.3, generator=generator)
    return model


def regression(model, rng, step):
    x = torch.from_numpy(rng.standard_normal((32, 16), np.float32))
    value = (model(x) - x[:, :3]).square().mean()
    return value, {"error": float(value.detach())}


def make_training(folder, **changes):
    run = Run(**{**RUN.__dict__, **changes})
    return Training(make_model(), run, folder / "tiny.safetensors")


class Killed(Exception):
    pass


def test_killed_run_goes_on_with_the_same_numbers(tmp_path):
    whole = make_training(tmp_path / "whole")
    train(whole, regression)

    def kill(step, steps, facts):
        if step == 5:  # after the save of step 4, before that of step 5
            raise Killed

    with pytest.raises(Killed):
        train(make_training(tmp_path / "parts"), regression, on_step=kill)
    resumed = make_training(tmp_path / "parts")
    train(resumed, regression)
    for name, tensor in whole.averaged().items():
        assert torch.equal(tensor, resumed.averaged()[name])
    assert whole.history == resumed.history
    assert whole.step == resumed.step == 8


@pytest.mark.parametrize("last", range(1, 8))
@pytest.mark.parametrize("save_seconds", [0.0, 1e9])
def test_run_killed_after_any_step_ends_with_the_same_numbers(tmp_path, last, save_seconds):
    whole = make_training(tmp_path / "whole")
    train(whole, regression)

    def kill(step, steps, facts):
        if step == last:
            raise Killed

    with pytest.raises(Killed):
        train(make_training(tmp_path / "parts", save_seconds=save_seconds), regression, on_step=kill)
    resumed = make_training(tmp_path / "parts")
    train(resumed, regression)
    assert all(torch.equal(tensor, resumed.averaged()[name]) for name, tensor in whole.averaged().items())
    assert whole.history == resumed.history


def test_full_disk_while_training_leaves_a_file_to_go_on_from(tmp_path, monkeypatch):
    whole = make_training(tmp_path / "whole")
    train(whole, regression)
    training, fill = make_training(tmp_path / "parts"), write._fill

    def half(path, tensors, metadata):
        if training.step == 4:
            path.write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        fill(path, tensors, metadata)

    monkeypatch.setattr(write, "_fill", half)
    with pytest.raises(OSError, match="No space left.*free some disk space"):
        train(training, regression)
    assert state.read(training.path)[1]["step"] == 3
    assert list(training.path.parent.iterdir()) == [training.path]
    monkeypatch.undo()
    resumed = make_training(tmp_path / "parts")
    train(resumed, regression)
    assert all(torch.equal(tensor, resumed.averaged()[name]) for name, tensor in whole.averaged().items())


def test_gentle_parameters_learn_at_a_tenth_of_the_rate():
    models = make_model(), make_model()
    for model, gentle in zip(models, ((), ("2.",))):
        regression(model, np.random.default_rng(0), 0)[0].backward()
        Optimizer(dict(model.named_parameters()), muon=True, gentle=gentle).step(0.01)
    before = make_model()
    for name, start in before.named_parameters():
        usual, gentle = (dict(model.named_parameters())[name] - start for model in models)
        assert_close(gentle, usual * (0.1 if name.startswith("2.") else 1.0), rtol=1e-3, atol=1e-6)


def test_training_lowers_the_loss(tmp_path):
    training = make_training(tmp_path, steps=60)
    train(training, regression)
    assert training.history[-1]["loss"] < 0.5 * training.history[0]["loss"]


def test_rate_warms_up_stays_and_falls_to_zero():
    run = Run("r", steps=100, lr=2.0, warmup=10, decay=0.25)
    assert run.rate(0) == pytest.approx(0.2)
    assert run.rate(9) == run.rate(74) == 2.0
    assert run.rate(99) == pytest.approx(2.0 / 25)


def test_nan_stops_names_the_step_and_keeps_the_last_good_state(tmp_path):
    def poisoned(model, rng, step):
        value, facts = regression(model, rng, step)
        return value * (math.nan if step == 5 else 1.0), facts

    training = make_training(tmp_path)
    with pytest.raises(FloatingPointError, match="step 5"):
        train(training, poisoned)
    tensors, facts = state.read(training.path)
    assert facts["step"] == 5
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert all(p.isfinite().all() for p in training.model.parameters())


def test_two_workers_give_the_gradient_of_one(tmp_path):
    results = []
    for workers in (1, 2):
        training = make_training(tmp_path / str(workers), parts=4, workers=workers, steps=1)
        train(training, regression)
        results.append(training.averaged())
    for name, tensor in results[0].items():
        assert_close(
            tensor, results[1][name], rtol=0, atol=2e-4
        )  # float32 sums in another order, through bf16 Muon


@pytest.mark.parametrize("content", [b"", b"no safetensors file at all", b"\xff" * 64])
def test_corrupt_resume_file_is_refused_in_one_sentence(tmp_path, content):
    training = make_training(tmp_path)
    training.path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read.*move it away") as caught:
        train(training, regression)
    assert training.path.read_bytes() == content
    assert "\n" not in str(caught.value)


def test_foreign_safetensors_file_is_refused(tmp_path):
    training = make_training(tmp_path)
    save_file({"weight": torch.zeros(2)}, training.path)
    with pytest.raises(ValueError, match="no training state of ours"):
        train(training, regression)


def test_resume_file_of_another_run_or_model_is_refused(tmp_path):
    train(make_training(tmp_path), regression)
    other = make_training(tmp_path, name="video")
    with pytest.raises(ValueError, match="'tiny', this is 'video'"):
        train(other, regression)
    larger = Training(nn.Linear(16, 3), RUN, tmp_path / "tiny.safetensors")
    with pytest.raises(ValueError, match="holds another model"):
        train(larger, regression)


def test_full_disk_keeps_the_previous_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("previous")

    def half(partial):
        partial.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left.*free some disk space"):
        replace_file(path, half)
    assert path.read_text() == "previous"
    assert list(tmp_path.iterdir()) == [path]


def test_interrupted_save_keeps_the_previous_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("previous")

    def half(partial):
        partial.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(path, half)
    assert path.read_text() == "previous"
    assert list(tmp_path.iterdir()) == [path]


def test_orthogonalised_matrix_has_singular_values_near_one():
    for shape in ((24, 64), (64, 24)):
        matrix = torch.randn((2, *shape), generator=torch.Generator().manual_seed(1))
        values = torch.linalg.svdvals(orthogonalise(matrix))
        assert 0.5 < values.min() <= values.max() < 1.4  # the quintic's band, not exactly one


def test_without_muon_a_step_is_that_of_adamw():
    model, reference = make_model(), make_model()
    ours = Optimizer(dict(model.named_parameters()), muon=False, weight_decay=0.0)
    theirs = torch.optim.AdamW(reference.parameters(), lr=0.01, betas=(0.9, 0.99), weight_decay=0.0)
    for step in range(3):
        for network in (model, reference):
            regression(network, np.random.default_rng(step), step)[0].backward()
        ours.step(0.01)
        theirs.step()
        theirs.zero_grad()
    for p, q in zip(model.parameters(), reference.parameters()):
        assert_close(p, q, rtol=1e-5, atol=1e-6)
