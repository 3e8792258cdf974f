"""Muon for hidden matrices and kernels, AdamW for the rest; the state is a flat dictionary of tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SMALLEST_MATRIX = 16  # below this a matrix has too few directions to be worth orthogonalising


@torch.no_grad()
def orthogonalise(matrix: Tensor, *, steps: int = 5) -> Tensor:
    """m n -> the nearest matrix with singular values about 1, by a quintic Newton-Schulz iteration (Jordan 2024)."""
    x = matrix.bfloat16()
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x if wide else x.T).to(matrix.dtype)


class Optimizer:
    """One learning rate for both: Muon's update is scaled to AdamW's root mean square, 0.2 (Liu et al. 2025)."""

    def __init__(self, parameters: dict[str, nn.Parameter], *, muon: bool, betas=(0.9, 0.99), weight_decay=0.01):
        self.parameters, self.betas, self.weight_decay = parameters, betas, weight_decay
        self.hidden = {n for n, p in parameters.items() if muon and p.dim() > 1 and min(p.shape[0], p[0].numel()) >= SMALLEST_MATRIX}
        self.state = {"count": torch.zeros(())}
        for name, p in parameters.items():
            self.state[f"first.{name}"] = torch.zeros_like(p, memory_format=torch.contiguous_format)
            if name not in self.hidden:
                self.state[f"second.{name}"] = torch.zeros_like(p, memory_format=torch.contiguous_format)

    def clip(self, largest: float) -> float:
        """Scale all gradients so that their joint norm is at most `largest`; the norm before."""
        return float(nn.utils.clip_grad_norm_(self.parameters.values(), largest))

    @torch.no_grad()
    def step(self, lr: float) -> None:
        self.state["count"] += 1
        for name, p in self.parameters.items():
            if p.grad is None:
                continue
            update = self._muon(name, p.grad) if name in self.hidden else self._adam(name, p.grad)
            if p.dim() > 1:
                p.mul_(1 - lr * self.weight_decay)
            p.sub_(update, alpha=lr)
            p.grad = None

    def _muon(self, name: str, grad: Tensor) -> Tensor:
        momentum = self.state[f"first.{name}"]
        momentum.lerp_(grad, 0.05)
        matrix = grad.lerp(momentum, 0.95).flatten(1)  # Nesterov
        return (orthogonalise(matrix) * 0.2 * max(matrix.shape) ** 0.5).view_as(grad)

    def _adam(self, name: str, grad: Tensor) -> Tensor:
        first, second = self.state[f"first.{name}"], self.state[f"second.{name}"]
        (b1, b2), count = self.betas, float(self.state["count"])
        first.lerp_(grad, 1 - b1)
        second.lerp_(grad.square(), 1 - b2)
        return first / (1 - b1**count) / ((second / (1 - b2**count)).sqrt() + 1e-8)

    def load(self, state: dict[str, Tensor]) -> None:
        for name, tensor in self.state.items():
            tensor.copy_(state[name])
