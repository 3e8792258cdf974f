"""Clips of exactly known motion, and defects in five grades, from band-limited textures."""

import math
from functools import lru_cache

import torch

WIDTH, HEIGHT = 96, 64
WAVES = 60


def texture(seed):
    """A picture on the endless plane: x, y in half-widths -> 3 ... in about 0.1..0.9,
    waves of 5 pixels and longer
    """
    g = torch.Generator().manual_seed(seed)
    angle = torch.rand(WAVES, generator=g) * 2 * math.pi
    longest, shortest = 2.0, 10 / WIDTH  # half-widths
    pace = 2 * math.pi / (longest * (shortest / longest) ** torch.rand(WAVES, generator=g))
    phase = torch.rand(WAVES, generator=g) * 2 * math.pi
    colour = torch.randn(WAVES, 3, generator=g) * 0.35 + torch.randn(WAVES, 1, generator=g)
    weight = colour * pace[:, None] ** -0.6
    weight = weight * (0.17 / weight.square().sum(0).div(2).sqrt())

    def paint(x, y):
        wave = torch.cos(x[..., None] * (pace * angle.cos()) + y[..., None] * (pace * angle.sin()) + phase)
        return (0.5 + wave @ weight).movedim(-1, 0)

    return paint


def grid(width, height):
    x = (torch.arange(width) * 2.0 + 1 - width) / width
    y = (torch.arange(height) * 2.0 + 1 - height) / width
    return torch.meshgrid(x, y, indexing="xy")


def move(*, pan=0.0, tilt=0.0, zoom=0.0, roll=0.0):
    """A camera's effect in one frame, 3 3 in half-widths: pan, tilt in widths, zoom, roll in degrees."""
    turn = math.radians(roll)
    c, s = (1 + zoom) * math.cos(turn), (1 + zoom) * math.sin(turn)
    return torch.tensor([[c, -s, -2 * pan], [s, c, 2 * tilt], [0, 0, 1]], dtype=torch.float64)


def scene(seed, *, frames=12, width=WIDTH, height=HEIGHT, disc=None, **camera):
    """t 3 H W; `disc` is (radius in half-widths, its own speed in widths a frame along x and y)."""
    ground, front = texture(seed), texture(seed + 1000)
    x, y = grid(width, height)
    step, out = move(**camera), []
    for t in range(frames):
        (a, b, c), (d, e, f), _ = torch.linalg.inv(torch.linalg.matrix_power(step, t)).tolist()
        picture = ground(a * x + b * y + c, d * x + e * y + f)
        if disc:
            radius, vx, vy = disc
            u, v = x - 2 * vx * (t - frames / 2), y - 2 * vy * (t - frames / 2)
            alpha = ((radius - (u * u + v * v).sqrt()) * width / 2 + 0.5).clamp(0, 1)
            picture = torch.lerp(picture, front(u, v), alpha)
        out.append(picture)
    return torch.stack(out).clamp(0, 1)


@lru_cache(maxsize=8)
def clean(seed, frames=12):
    """A camera that pans slowly over a scene in which a disc moves by itself,
    and no value at black or white.
    """
    return 0.1 + 0.8 * scene(seed, frames=frames, pan=0.006, tilt=0.001, disc=(0.25, 0.008, 0.004))


def noise(x, k, g):
    return x + 0.01 * k * torch.randn(x.shape, generator=g)


def gain_flicker(x, k, g):
    period = (2, 3, 6)[int(torch.randint(3, (1,), generator=g))]
    t = torch.arange(len(x))
    return x * (1 + 0.02 * k * torch.cos(2 * math.pi * t / period)).view(-1, 1, 1, 1)


def colour_drift(x, k, g):
    t = torch.linspace(0, 1, len(x)).view(-1, 1, 1, 1)
    return x + 0.02 * k * t * torch.tensor([1.0, 0.0, -1.0]).view(1, 3, 1, 1)


def blur_drift(x, k, g):
    out = []
    for t, frame in enumerate(x):
        sigma = 0.3 * k * t / (len(x) - 1) + 1e-3
        d = torch.arange(-6, 7).float()
        w = torch.exp(-d * d / (2 * sigma * sigma))
        w = (w / w.sum()).view(1, 1, 1, -1).expand(3, -1, -1, -1)
        f = torch.nn.functional.pad(frame[None], (6, 6, 6, 6), mode="reflect")
        f = torch.nn.functional.conv2d(f, w, groups=3)
        out.append(torch.nn.functional.conv2d(f, w.mT, groups=3)[0])
    return torch.stack(out)


def jitter(x, k, g):
    """Frames displaced by chance, by up to k pixels"""
    out = [x[0]]
    for frame in x[1:]:
        dx, dy = (int(s) for s in (torch.rand(2, generator=g) - 0.5).sign() * k)
        out.append(frame.roll((dy, dx), (1, 2)))
    return torch.stack(out)


def repeated(x, k, g):
    """k frames, not neighbours, shown twice, each instead of the one after it"""
    x = x.clone()
    for i in range(k):
        x[2 * i + 1] = x[2 * i]
    return x


def cut(x, k, g):
    """k cuts, each to another scene"""
    x = x.clone()
    for i in range(k):
        other = clean(50 + int(torch.randint(1000, (1,), generator=g)), len(x))
        x[2 * i + 2 :] = other[2 * i + 2 :]
    return x


def hue_step(x, k, g):
    """From the middle on red and blue are mixed"""
    x, half = x.clone(), len(x) // 2
    share = 0.06 * k
    x[half:, 0], x[half:, 2] = (
        torch.lerp(x[half:, 0], x[half:, 0] ** 2, share),
        torch.lerp(x[half:, 2], x[half:, 2] ** 0.5, share),
    )
    return x


def freeze(x, k, g):
    x = x.clone()
    x[-2 * k :] = x[-2 * k - 1]
    return x


def break_up(x, k, g):
    """A share of the tiles of every frame but the first lies elsewhere"""
    out, side = [x[0]], 16
    rows, columns = x.shape[-2] // side, x.shape[-1] // side
    for frame in x[1:]:
        tiles = (
            frame.unfold(1, side, side).unfold(2, side, side).reshape(3, rows * columns, side, side).clone()
        )
        chosen = torch.randperm(rows * columns, generator=g)[: round(0.12 * k * rows * columns)]
        tiles[:, chosen] = tiles[:, chosen[torch.randperm(len(chosen), generator=g)]]
        out.append(
            tiles.view(3, rows, columns, side, side).permute(0, 1, 3, 2, 4).reshape(3, rows * side, -1)
        )
    return torch.stack(out)


def loop_offset(x, k, g):
    """A loop in which k frames are missing at the seam"""
    there = torch.cat((x, x[1:-1].flip(0)))
    return there[: len(there) - k]


def clipping(x, k, g):
    return (0.5 + (x - 0.5) * (1 + 0.4 * k)).clamp(0, 1)


DEFECTS = (  # what each is called, and the measure that is meant for it
    (noise, "detail.noise"),
    (gain_flicker, "light.flicker"),
    (colour_drift, "drift.colour"),
    (blur_drift, "detail.sharpness"),
    (jitter, "motion.jerk"),
    (repeated, "still.pairs"),
    (cut, "cuts"),
    (hue_step, "light.jump"),
    (freeze, "still.longest"),
    (break_up, "motion.followed"),
    (loop_offset, "loop.position"),
    (clipping, "detail.clipped"),
)
GRADES = 5


def damaged(defect, grade, seed, frames=12):
    """The clip of that seed with a defect of grade 1 to 5; 0 is the clean clip."""
    x = clean(seed, frames)
    if not grade:
        return x
    return defect(x, grade, torch.Generator().manual_seed(seed)).clamp(0, 1)


def value(report, path):
    """A measure by its path; cuts count."""
    found = report
    for key in path.split("."):
        found = found[key]
    return float(len(found)) if isinstance(found, list) else (float("nan") if found is None else float(found))
