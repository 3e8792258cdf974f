"""One function per sampler of the probability-flow ODE dx/dsigma = (x - D(x; sigma)) / sigma.

Every sampler is called alike: `sample(denoise, x, sigmas, *, generator=None, on_step=None)`.
denoise(x, sigma) returns the denoised latents (same shape, sigma a scalar tensor); x is scaled to the first
noise level by `initial`; sigmas are n + 1 levels that fall and usually end in 0. No argument is changed.
`on_step(i, n)` follows step i of n. Stochastic samplers draw float32 noise from the CPU `generator`, so that
a seed means the same clip on any device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..signatures import Denoise, OnStep, Sampler


def initial(noise: Tensor, sigma_max: Tensor) -> Tensor:
    """Unit noise to the first latent, of the deviation sqrt(1 + sigma²) of noised unit-variance data."""
    return noise * (1 + sigma_max.float() ** 2).sqrt().to(noise)


def to_d(x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
    """The derivative dx/dsigma of the probability-flow ODE."""
    return (x - denoised) / sigma


def euler(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    S_churn: float = 0.0,
    S_tmin: float = 0.0,
    S_tmax: float = math.inf,
    S_noise: float = 1.0,
    generator: torch.Generator | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """EDM Algorithm 2 without the second-order correction; S_churn > 0 adds noise before each step."""
    n = len(sigmas) - 1
    for i in range(n):
        x, t_hat = churn(x, sigmas, i, S_churn, S_tmin, S_tmax, S_noise, generator)
        d = to_d(x, t_hat, denoise(x, t_hat))
        x = x + d * (sigmas[i + 1] - t_hat)
        _report(on_step, i, n)
    return x


def heun(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    S_churn: float = 0.0,
    S_tmin: float = 0.0,
    S_tmax: float = math.inf,
    S_noise: float = 1.0,
    generator: torch.Generator | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """EDM Algorithm 2: second order, two network calls a step but for the last."""
    n = len(sigmas) - 1
    for i in range(n):
        x_hat, t_hat = churn(x, sigmas, i, S_churn, S_tmin, S_tmax, S_noise, generator)
        d_cur = to_d(x_hat, t_hat, denoise(x_hat, t_hat))
        t_next = sigmas[i + 1]
        x = x_hat + d_cur * (t_next - t_hat)
        if t_next > 0:
            d_prime = to_d(x, t_next, denoise(x, t_next))
            x = x_hat + (d_cur + d_prime) / 2 * (t_next - t_hat)
        _report(on_step, i, n)
    return x


def dpmpp_2m(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    generator: torch.Generator | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """DPM-Solver++(2M): second order by the last denoised value, one call a step (Lu et al., 2022)."""
    n = len(sigmas) - 1
    denoised_old = None
    for i in range(n):
        denoised = denoise(x, sigmas[i])
        D = denoised
        if denoised_old is not None and sigmas[i + 1] > 0:
            h_last, h = (sigmas[i - 1] / sigmas[i]).log(), (sigmas[i] / sigmas[i + 1]).log()
            D = denoised + (denoised - denoised_old) * (h / h_last / 2)
        share = (sigmas[i + 1] / sigmas[i]).to(x.device, x.dtype, non_blocking=x.is_cuda)
        x = torch.lerp(D, x, share)
        denoised_old = denoised
        _report(on_step, i, n)
    return x


def euler_ancestral(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    eta: float = 1.0,
    S_noise: float = 1.0,
    generator: torch.Generator | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Euler to sigma_down, then fresh noise back up to the next level; eta 0 is `euler`."""
    n = len(sigmas) - 1
    for i in range(n):
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        ratio = (sigma_next / sigma) ** 2
        sigma_up = torch.minimum(sigma_next, eta * sigma_next * (1 - ratio).sqrt())
        sigma_down = (sigma_next**2 - sigma_up**2).sqrt()
        d = to_d(x, sigma, denoise(x, sigma))
        x = x + d * (sigma_down - sigma)
        if sigma_up > 0:
            x = x + draw(x, generator) * (S_noise * sigma_up)
        _report(on_step, i, n)
    return x


def lcm(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    generator: torch.Generator | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Multistep consistency sampling for distilled models such as AnimateLCM-SVD: denoise, then renoise."""
    n = len(sigmas) - 1
    for i in range(n):
        x = denoise(x, sigmas[i])
        if sigmas[i + 1] > 0:
            x = x + draw(x, generator) * sigmas[i + 1]
        _report(on_step, i, n)
    return x


SAMPLERS: dict[str, Sampler] = {
    "euler": euler,
    "heun": heun,
    "dpmpp_2m": dpmpp_2m,
    "euler_ancestral": euler_ancestral,
    "lcm": lcm,
}


def churn(
    x: Tensor,
    sigmas: Tensor,
    i: int,
    S_churn: float,
    S_tmin: float,
    S_tmax: float,
    S_noise: float,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """Lines 4-6 of EDM Algorithm 2: raise the noise level of x from sigmas[i] to t_hat."""
    sigma = sigmas[i]
    gamma = min(S_churn / (len(sigmas) - 1), math.sqrt(2) - 1) if S_tmin <= sigma <= S_tmax else 0.0
    if gamma <= 0:
        return x, sigma
    t_hat = sigma * (1 + gamma)
    return x + draw(x, generator) * (S_noise * (t_hat**2 - sigma**2).sqrt()), t_hat


def draw(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Unit noise shaped as x, from a CPU generator, in float32."""
    if generator is None:
        raise ValueError("this sampler draws noise; pass generator=torch.Generator().manual_seed(seed)")
    noise = torch.randn(x.shape, generator=generator, dtype=torch.float32)
    return noise.to(x.device, x.dtype, non_blocking=x.is_cuda)


def _report(on_step: OnStep | None, i: int, n: int) -> None:
    if on_step is not None:
        on_step(i, n)
