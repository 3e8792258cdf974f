"""One training run: any model, any loss; it can be killed at any moment and goes on with the same numbers.

A step's random numbers depend only on (seed, step), so weights, EMA, optimiser and step are the whole state.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import state
from .optimizer import Optimizer

Facts = dict[str, float]  # what a step reports, by name
Loss = Callable[[Any, np.random.Generator, int], tuple[Tensor, Facts]]  # (its own model, rng, step)
OnTrained = Callable[[int, int, Facts], None]  # (step, steps, facts) after each step


@dataclass(frozen=True)
class Run:
    name: str
    steps: int
    lr: float
    warmup: int = 100
    decay: float = 0.25  # share of the steps over which the rate falls linearly to zero
    ema: float = 0.999
    muon: bool = False
    bf16: bool = True
    parts: int = 1  # a batch is drawn and differentiated in so many parts
    workers: int = (
        1  # threads that share the parts; with one thread a core, cores need not wait for each other
    )
    largest_gradient: float = 1.0
    gentle: tuple[str, ...] = ()  # parameters whose names begin so learn at a tenth of the rate
    seed: int = 0
    save_seconds: float = 120.0
    sheet_steps: int = 1000

    def rate(self, step: int) -> float:
        """The learning rate of a step: warm-up, plateau, linear decay."""
        left = (self.steps - step) / max(1.0, self.steps * self.decay)
        return self.lr * min(1.0, (step + 1) / self.warmup, left)

    def ema_rate(self, step: int) -> float:
        """The average's memory grows with the run, so that it forgets its start."""
        return min(self.ema, (step + 1) / (step + 10))


class Training:
    """Weights under training, their average, the optimiser and the history: what a resume file holds."""

    def __init__(self, model: nn.Module, run: Run, path: Path):
        self.model, self.run, self.path = model, run, Path(path)
        self.parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.optimizer = Optimizer(self.parameters, muon=run.muon, gentle=run.gentle)
        self.ema = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.step = 0
        self.history: list[Facts] = []
        self.window: list[Facts] = []
        self.replicas = [model, *(self.replica() for _ in range(run.workers - 1))]

    def replica(self) -> nn.Module:
        """The same weights with gradients of their own."""
        twin = copy.deepcopy(self.model)
        for p, q in zip(self.model.parameters(), twin.parameters()):
            q.data = p.data
        return twin

    def save(self) -> None:
        """Write the resume file; the previous one stays if that fails."""
        parts: dict[str, Mapping[str, Tensor]] = {
            "model.": self.parameters,
            "ema.": self.ema,
            "optimizer.": self.optimizer.state,
        }
        tensors = {prefix + name: tensor for prefix, part in parts.items() for name, tensor in part.items()}
        state.save(
            self.path,
            tensors,
            {name: getattr(self, name) for name in ("step", "history", "window")} | {"run": self.run.name},
        )

    def resume(self) -> None:
        """Go on from the resume file if there is one."""
        if not self.path.exists():
            return
        tensors, facts = state.read(self.path)
        if facts.get("run") != self.run.name:
            raise ValueError(
                f"{self.path} belongs to the run {facts.get('run')!r}, this is {self.run.name!r}; name "
                "another folder"
            )
        self.load(state.take(tensors, "model."), self.parameters)
        self.load(state.take(tensors, "ema."), self.ema)
        self.optimizer.load(state.take(tensors, "optimizer."))
        self.step, self.history, self.window = facts["step"], facts["history"], facts.get("window", [])

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> None:
        different = sorted(tensors.keys() ^ into.keys())
        different += [n for n in tensors.keys() & into.keys() if tensors[n].shape != into[n].shape]
        if different:
            raise ValueError(
                f"{self.path} holds another model: {len(different)} tensors differ, the first is "
                f"{different[0]!r}; name another folder"
            )
        for name, tensor in into.items():
            tensor.copy_(tensors[name])

    def averaged(self) -> dict[str, Tensor]:
        """The model's state dict with the averaged weights."""
        return {**self.model.state_dict(), **self.ema}

    def work(self, worker: int, loss: Loss) -> list[tuple[float, Facts]]:
        """Differentiate this worker's share of the step's parts."""
        model, results = self.replicas[worker], []
        device = next(model.parameters()).device.type
        for part in range(worker, self.run.parts, self.run.workers):
            rng = np.random.default_rng((self.run.seed, self.step, part))
            with torch.autocast(device, dtype=torch.bfloat16, enabled=self.run.bf16):
                value, facts = loss(model, rng, self.step)
            (value / self.run.parts).backward()
            results.append((float(value.detach()), facts))
        return results

    def gather(self) -> None:
        """Add the replicas' gradients to the model's."""
        for twin in self.replicas[1:]:
            for p, q in zip(self.model.parameters(), twin.parameters()):
                if q.grad is not None:
                    p.grad = q.grad if p.grad is None else p.grad.add_(q.grad)
                    q.grad = None

    def advance(self, loss: Loss) -> Facts:
        """One step; a loss or gradient that is not finite stops the run before it reaches the weights."""
        if self.run.workers == 1:
            shares = [self.work(0, loss)]
        else:
            with ThreadPoolExecutor(self.run.workers) as pool:
                shares = list(pool.map(lambda worker: self.work(worker, loss), range(self.run.workers)))
        self.gather()
        results = [result for share in shares for result in share]
        value = sum(v for v, _ in results) / len(results)
        norm = self.optimizer.clip(self.run.largest_gradient)
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise FloatingPointError(
                f"{self.run.name}: loss {value}, gradient {norm} at step {self.step}; "
                f"{self.path} keeps the last good state; go on with a lower learning rate"
            )
        self.optimizer.step(self.run.rate(self.step))
        rate = 1 - self.run.ema_rate(self.step)
        torch._foreach_lerp_(list(self.ema.values()), [p.detach() for p in self.parameters.values()], rate)
        self.step += 1
        return {
            "loss": value,
            **{name: sum(f[name] for _, f in results) / len(results) for name in results[0][1]},
        }

    def note(self, facts: Facts) -> None:
        """Keep the means of every 20 steps."""
        self.window.append(facts)
        if len(self.window) == 20 or self.step == self.run.steps:
            mean = {name: round(sum(f[name] for f in self.window) / len(self.window), 5) for name in facts}
            self.history.append({"step": self.step, **mean})
            self.window = []


def train(
    training: Training,
    loss: Loss,
    *,
    on_step: OnTrained | None = None,
    on_sheet: Callable[[Training], None] | None = None,
) -> None:
    """Run to the last step, resuming if possible; `on_step(step, steps, facts)`,
    `on_sheet(training)` now and then.
    """
    training.resume()
    run, saved = training.run, time.monotonic()
    while training.step < run.steps:
        facts = training.advance(loss)
        training.note(facts)
        if on_step:
            on_step(training.step, run.steps, facts)
        if time.monotonic() - saved > run.save_seconds or training.step == run.steps:
            training.save()
            saved = time.monotonic()
        if on_sheet and (training.step % run.sheet_steps == 0 or training.step == run.steps):
            on_sheet(training)
