"""Muon for hidden matrices and kernels, AdamW for the rest; the state is a flat dictionary of tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..models.ops import runs_bfloat16

SMALLEST_MATRIX = 16  # below this a matrix has too few directions to be worth orthogonalising


@torch.no_grad()
def orthogonalise(matrices: Tensor, *, steps: int = 5) -> Tensor:
    """k m n -> the nearest matrices of singular values about 1, by quintic Newton-Schulz (Jordan 2024)."""
    x = matrices.bfloat16() if matrices.device.type != "cpu" or runs_bfloat16() else matrices.float()
    wide = x.shape[1] <= x.shape[2]
    x = x if wide else x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return (x if wide else x.mT).to(matrices.dtype)


class Optimizer:
    """One learning rate for both: Muon's update has AdamW's root mean square, 0.2 (Liu et al. 2025)."""

    def __init__(
        self,
        parameters: dict[str, nn.Parameter],
        *,
        muon: bool,
        gentle: tuple[str, ...] = (),
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.01,
    ):
        self.parameters, self.betas, self.weight_decay = parameters, betas, weight_decay
        self.hidden = {
            n
            for n, p in parameters.items()
            if muon and p.dim() > 1 and min(p.shape[0], p[0].numel()) >= SMALLEST_MATRIX
        }
        self.gentle = {n for n in parameters if n.startswith(gentle)}
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
        updates = {
            n: self._adam(n, p.grad)
            for n, p in self.parameters.items()
            if p.grad is not None and n not in self.hidden
        }
        for name, update in (updates | self._muon()).items():
            p, rate = self.parameters[name], lr * (0.1 if name in self.gentle else 1.0)
            if p.dim() > 1:
                p.mul_(1 - rate * self.weight_decay)
            p.sub_(update, alpha=rate)
            p.grad = None

    def _muon(self) -> dict[str, Tensor]:
        """Matrices of one shape are orthogonalised together: many are small."""
        shapes: dict[tuple[int, ...], list[str]] = {}
        directions = {}
        for name in sorted(self.hidden):
            if (grad := self.parameters[name].grad) is not None:
                momentum = self.state[f"first.{name}"].lerp_(grad, 0.05)
                directions[name] = grad.lerp(momentum, 0.95).flatten(1)  # Nesterov
                shapes.setdefault(tuple(directions[name].shape), []).append(name)
        updates: dict[str, Tensor] = {}
        for shape, names in shapes.items():
            matrices = (
                orthogonalise(torch.stack([directions[name] for name in names])) * 0.2 * max(shape) ** 0.5
            )
            updates |= {name: matrix.view_as(self.parameters[name]) for name, matrix in zip(names, matrices)}
        return updates

    def _adam(self, name: str, grad: Tensor) -> Tensor:
        first, second = self.state[f"first.{name}"], self.state[f"second.{name}"]
        (b1, b2), count = self.betas, float(self.state["count"])
        first.lerp_(grad, 1 - b1)
        second.lerp_(grad.square(), 1 - b2)
        return first / (1 - b1**count) / ((second / (1 - b2**count)).sqrt() + 1e-8)

    def load(self, state: dict[str, Tensor]) -> None:
        for name, tensor in self.state.items():
            tensor.copy_(state[name])
