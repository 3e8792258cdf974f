"""What oscillates in a series told from what changes: steps, dips, slow and monotone changes are trend."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right

import torch
import torch.nn.functional as F
from torch import Tensor

CURVED_FROM = 24  # values from which a course may be curved; in fewer, flicker of period 6 passes for a curve
LEAST_LEG = 0.003  # a way up or down shorter than this is noise
LEGS = 4  # ways up and down that make an oscillation; a dip has two
LEGS_OF_FEW = 3  # the same in fewer than `FEW` values
FEW = 8
EXACT = 0.001  # deviation that is followed where nothing oscillates
PART_COST = (
    24.0  # squared deviations that a line of its own must save to be a part; a sine's half period saves 6
)
ROUNDS = 3  # of finding parts, and what oscillates about them
LONGEST_PART = 1024  # values
WAVE_WITHIN = range(12, 257)  # values in which one wave may be told from any course; longer series hold many
WAVE_CYCLES, WAVE_PERIOD = 2.5, 8.0  # fewest cycles, longest period in values
WAVE_LEAST = 0.003  # amplitude that is worth taking out
WAVE_UNEXPLAINED = 0.06  # of the energy, at most
WAVE_USED = 0.75  # of the weight that fits it, at least: what outliers left is no wave
WAVES = 3  # with its overtones


def trend(x: Tensor, window: float) -> Tensor:
    """x without what oscillates with periods up to `window`: n in float64 -> n

    Parts between sudden changes are found first, as lines that pay for themselves beside the size of the
    oscillation around them; where there is none every change pays. Each part then keeps its smooth course.
    Steady waves are taken out before: under a steep or curved course there may be no way up and down.
    """
    for _ in range(WAVES):
        if (found := wave(x, window)) is None:
            break
        x = x - found
    size = oscillation(x, window)
    if float(size.max()) <= EXACT:
        return x
    out = x
    for _ in range(ROUNDS):
        starts = parts(x, size)
        out = torch.cat([course(part, window) for part in x.tensor_split(starts[1:])])
        size = torch.minimum(size, (1.25 * local_mean((x - out).abs(), window)).clamp(min=EXACT))
    return torch.where(oscillation(x, window) > EXACT, out, x)


def wave(x: Tensor, window: float) -> Tensor | None:
    """The sinusoid that nearly all of a series' bends consist of, of whatever slope and curvature: n -> n

    Sought in second differences, where a course is nearly a line and a step a few outliers. None without one.
    """
    n = len(x)
    slowest = max(1 / min(WAVE_PERIOD, window), WAVE_CYCLES / n)
    if n not in WAVE_WITHIN or slowest >= 0.5:
        return None
    bends = x.diff(n=2)
    weight = torch.ones_like(bends)
    rates = torch.linspace(slowest, 0.5, int(8 * n * (0.5 - slowest)) + 2, dtype=x.dtype)
    near = torch.linspace(-1, 1, 33, dtype=x.dtype) / (8 * n)
    for _ in range(4):  # of leaving outliers out
        rate, _, _ = nearest_wave(bends, weight, rates)
        rate, factors, left = nearest_wave(bends, weight, (rate + near).clamp(slowest, 0.5))
        weight = 1 / (1 + (left / (6 * left.abs().median() + 1e-9)) ** 2)
    place = torch.arange(-1, n - 1, dtype=x.dtype)  # that of the bends
    shape = factors @ cycles(rate[None], place)[0]
    energy, unexplained = ((weight * v.square()).sum() for v in (left + shape[1:-1], left))
    found = shape / (-4 * math.sin(math.pi * float(rate)) ** 2)  # what a sinusoid's second difference is
    clear = unexplained <= WAVE_UNEXPLAINED * energy and weight.mean() >= WAVE_USED
    return found if clear and float(found.abs().max()) >= WAVE_LEAST else None


def nearest_wave(x: Tensor, weight: Tensor, rates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Line and sinusoid nearest to a series: n, n, rates k in cycles a value -> rate, its factors of cosine
    and sine 2, what is left n
    """
    place = torch.arange(len(x), dtype=x.dtype)
    line = torch.stack((torch.ones_like(place), place / len(x))).expand(len(rates), 2, -1)
    shapes = torch.cat((line, cycles(rates, place)), 1)
    moments = torch.einsum("kin,n,kjn->kij", shapes, weight, shapes) + 1e-9 * torch.eye(4).to(x)
    factors = torch.linalg.solve(moments, torch.einsum("kin,n->ki", shapes, weight * x))
    left = x - torch.einsum("ki,kin->kn", factors, shapes)
    best = int((weight * left.square()).sum(1).argmin())
    return rates[best], factors[best, 2:], left[best]


def cycles(rates: Tensor, place: Tensor) -> Tensor:
    """Cosine and sine: k, n -> k 2 n"""
    angle = 2 * math.pi * rates[:, None] * place
    return torch.stack((angle.cos(), angle.sin()), 1)


def oscillation(x: Tensor, window: float) -> Tensor:
    """Deviation of what goes up and down again within `window` of each value: n -> n, at least `EXACT`"""
    n, reach = len(x), math.ceil(2 * window)
    points = turning_points(x.tolist())
    lengths = [abs(float(x[j] - x[i])) for i, j in zip(points, points[1:])]
    for end in {0, len(lengths) - 1} & set(range(len(lengths))):
        lengths[end] *= 2  # the series begins and ends midway
    legs = [leg for leg in zip(points, points[1:], lengths) if leg[1] - leg[0] <= window / 2 + 1]
    needed = LEGS if n >= FEW else LEGS_OF_FEW
    starts, ends = [leg[0] for leg in legs], [leg[1] for leg in legs]
    size = torch.full_like(x, EXACT)
    for t in range(n):
        around = legs[bisect_left(ends, t - reach) : bisect_right(starts, t + reach)]
        near = sorted((length for _, _, length in around), reverse=True)
        if len(near) >= needed:
            size[t] = max(EXACT, min(near[needed - 1], near[len(near) // 2]) / 2)
    return size


def turning_points(x: list[float]) -> list[int]:
    """Where a series turns by more than `LEAST_LEG`, with the ends of its first and last way"""
    low = high = 0
    for i, v in enumerate(x):
        low, high = (i if v < x[low] else low), (i if v > x[high] else high)
        if x[high] - x[low] > LEAST_LEG:
            break
    sign, furthest = (1, high) if high > low else (-1, low)
    points = [min(low, high)]
    for i in range(furthest + 1, len(x)):
        if sign * (x[i] - x[furthest]) >= 0:
            furthest = i
        elif abs(x[i] - x[furthest]) > LEAST_LEG:
            points.append(furthest)
            sign, furthest = -sign, i
    return [*points, furthest]


def parts(x: Tensor, size: Tensor) -> list[int]:
    """First value of each part: n, deviation about a line in it n -> ascending, from 0

    The cheapest way through the series: a part costs its squared deviations from its line, beside `size`, and
    `PART_COST` (Bellman 1961).
    """
    n = len(x)
    t = torch.arange(n, dtype=x.dtype)
    w = size**-2
    sums = F.pad(torch.stack((w, w * t, w * t * t, w * x, w * t * x, w * x * x)).cumsum(1), (1, 0))
    best, since = x.new_zeros(n + 1), [0] * (n + 1)
    for end in range(1, n + 1):
        first = max(0, end - LONGEST_PART)
        s, st, stt, sx, stx, sxx = sums[:, end : end + 1] - sums[:, first:end]
        spread = (stt - st * st / s).clamp(min=1e-9)
        deviation = sxx - sx * sx / s - (stx - st * sx / s) ** 2 / spread
        cost = best[first:end] + deviation.clamp(min=0) + PART_COST
        since[end] = first + int(cost.argmin())
        best[end] = cost[since[end] - first]
    starts, end = [], n
    while end:
        end = since[end]
        starts.append(end)
    return starts[::-1]


def local_mean(x: Tensor, window: float) -> Tensor:
    """Mean over `window` values to each side: n -> n"""
    reach, n = math.ceil(window), len(x)
    sums = F.pad(x.cumsum(0), (1, 0))
    place = torch.arange(n)
    first, end = (place - reach).clamp(min=0), (place + reach + 1).clamp(max=n)
    return (sums[end] - sums[first]) / (end - first)


def course(x: Tensor, window: float) -> Tensor:
    """The smooth course of a series: n -> n

    Polynomials fitted under Gaussian weights, lines where there is not room for more.
    Near an end the fit of the last place with room on both sides is drawn out,
    for a fit cut off in mid-period takes flicker for slope.
    """
    n = len(x)
    degree = 2 if n >= CURVED_FROM else 1
    sigma = min(window / 2, n / (6 - degree))
    reach, margin = math.ceil(3 * sigma), min(int(2 * sigma), (n - 1) // 2)
    place, d = torch.arange(n), torch.arange(-reach, reach + 1)
    centre = place.clamp(margin, n - 1 - margin)
    near = centre[:, None] + d
    exponents = torch.arange(degree + 1)
    powers = (d / sigma).to(x)[:, None] ** exponents
    weights = torch.exp(-((d / sigma).to(x) ** 2) / 2) * ((near >= 0) & (near < n))
    moments = torch.einsum("tr,ri,rj->tij", weights, powers, powers) + 1e-9 * torch.eye(degree + 1).to(x)
    sums = torch.einsum("tr,ri,tr->ti", weights, powers, x[near.clamp(0, n - 1)])
    ahead = ((place - centre) / sigma).to(x)[:, None] ** exponents
    return torch.einsum("ti,ti->t", ahead, torch.linalg.solve(moments, sums))
