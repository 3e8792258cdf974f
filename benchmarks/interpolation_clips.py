"""Clips to judge interpolation on: of known motion, and generated ones that installed packages carry.

Parameters were chosen by `synthetic` and `generated(TUNED)`; `photographs` and `generated(HELD_OUT)` judge
them.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

H, W, T = 288, 512, 9  # size and frames of a clip; every other frame is left out

# Animated pictures of the host's template packages that are clips of video models in an even cadence.
TUNED = """
api_bytedance_flf2v-1 api_kling_flf-1 api_kling_omni_edit_video-1 api_ltxv_image_to_video-1 api_luma_i2v-1
api_minimax_h3_flf2v-1 api_runway_gen3a_turbo_image_to_video-1 api_veo2_i2v-1 api_vidu_video_extension-1
image_to_video_wan-1 ltxv_image_to_video-1 txt_to_image_to_video-1 video_hunyuan_video_1.5_720p_t2v-1
video_ltx2_i2v_distilled-1 video_wan2.1_fun_camera_v1.1_1.3B-1 video_wan2_2_14B_fun_camera-1
video_wan2_2_5B_ti2v-1 video_wan_vace_14B_v2v-1
""".split()
# No parameter was chosen by these, but for the gate of `between.mix`, which two nearly still ones called for,
# and what `cuts` takes for chance and `keep` for motion, which were set with a view to these and photographs.
HELD_OUT = """
api_bytedance_text_to_video-1 api_hailuo_minimax_t2v-1 api_kling_dual_characters_effects-1 api_kling_effects-1
api_kling_i2v-1 api_kling_motion_control3-1 api_luma_t2v-1 api_pixverse_t2v-1 api_vidu_start_end_to_video-1
api_wan2_7_i2v-1 api_wan_image_to_video-1 api_wan_text_to_video-1 ltxv_text_to_video-1 video_humo-1
video_kandinsky5_t2v-1 video_ltx2_i2v-1 video_ltx2_t2v-1 video_ltx2_t2v_distilled-1
video_wan2_2_14B_fun_inpaint-1 video_wan2_2_14B_t2v-1 video_wan_dancer-1 wan2.1_fun_inp-1
""".split()
PHOTOGRAPHS = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)


def texture(seed: int, *, grain: int = 8, contrast: float = 1.0) -> Tensor:
    """1 3 2H 2W in [0, 1]: noise of cells from 8 grains down to a quarter, coarse ones strongest"""
    g = torch.Generator().manual_seed(seed)
    x = torch.zeros(1, 3, 2 * H, 2 * W)
    for octave in range(6):
        cell = max(1, grain * 8 >> octave)
        noise = torch.rand(1, 3, 2 * H // cell + 2, 2 * W // cell + 2, generator=g) - 0.5
        x += F.interpolate(noise, size=x.shape[-2:], mode="bicubic") * 0.7**octave
    return (0.5 + 0.6 * contrast * x).clamp(0, 1)


def view(
    picture: Tensor, *, angle: float = 0.0, zoom: float = 1.0, dx: float = 0.0, dy: float = 0.0
) -> Tensor:
    """The picture's middle seen turned, enlarged and moved (pixels), each pixel the mean of four: 1 3 H W"""
    y, x = torch.meshgrid(torch.arange(2 * H) - H + 0.5, torch.arange(2 * W) - W + 0.5, indexing="ij")
    x, y = x / 2, y / 2  # in pixels of the clip, two samples each way
    c, s = math.cos(angle) / zoom, math.sin(angle) / zoom
    u, v = c * x - s * y + dx, s * x + c * y + dy
    grid = torch.stack((u / W, v / H), -1)[None]
    fine = F.grid_sample(picture, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    return F.avg_pool2d(fine, 2).clamp(0, 1)


def over(back: Tensor, front: Tensor, mask: Tensor) -> Tensor:
    return torch.lerp(back, front, mask)


def disc(t: float, *, radius: float, speed: float) -> Tensor:
    """A soft-edged disc that crosses the picture: 1 1 H W"""
    y, x = torch.meshgrid(torch.arange(H) - H / 2, torch.arange(W) - W / 2, indexing="ij")
    return (radius - torch.hypot(x - speed * (t - T / 2), y) + 0.5).clamp(0, 1)[None, None]


def bars(t: float, speed: float) -> Tensor:
    """Slanted bars two pixels wide: 1 1 H W"""
    y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    distance = (x + 0.4 * y - speed * t) % 48 - 24
    return (1.5 - distance.abs()).clamp(0, 1)[None, None]


def synthetic(frames: int = T) -> Iterator[tuple[str, Tensor]]:
    """Name and frames 3 H W; the motion of each is known in closed form"""
    far, near, flat = texture(1), texture(2, grain=4), texture(3, grain=32, contrast=0.25)
    motions: dict[str, Callable[[int], Tensor]] = {
        "pan": lambda t: view(far, dx=5.3 * t),
        "rotation": lambda t: view(far, angle=math.radians(1.5 * t)),
        "zoom": lambda t: view(far, zoom=1.02**t),
        "low texture": lambda t: view(flat, dx=3.1 * t, dy=1.2 * t),
        "occlusion": lambda t: over(view(far, dx=2 * t), view(near, dx=-7 * t), disc(t, radius=60, speed=9)),
        "thin structures": lambda t: over(view(far, dx=1.5 * t), torch.full((1, 3, 1, 1), 0.9), bars(t, 4.0)),
        "brightness": lambda t: view(far, dx=4 * t, zoom=1.01**t) * (1 - 0.03 * t),
    }
    for name, frame in motions.items():
        yield name, torch.cat([frame(t) for t in range(frames)])


def letterboxed(x: Tensor) -> Tensor:
    """Black bars over a ninth of the picture's height at top and bottom: t 3 H W"""
    y = x.clone()
    y[..., : H // 9, :] = y[..., -(H // 9) :, :] = 0
    return y


def overlaid(x: Tensor) -> Tensor:
    """Still white strokes like those of a subtitle, and a still panel: t 3 H W"""
    y = x.clone()
    y[..., 24:64, W - 120 : W - 24] = texture(9)[..., :40, :96]
    for left in range(W // 5, 4 * W // 5, 9):
        y[..., 244:260, left : left + 3] = y[..., 251:254, left : left + 7] = 1
    return y


def bright_body(back: Tensor, t: float) -> Tensor:
    """A small white disc that moves 15 pixels in half an interval: 1 3 H W"""
    return over(back, torch.ones(1, 3, 1, 1), disc(t, radius=10, speed=15))


def hard(frames: int = T) -> Iterator[tuple[str, Tensor]]:
    """Name and frames 3 H W: what ordinary films hold, and a mean over many clips hides"""
    far, black = texture(1), torch.zeros(1, 3, H, W)
    pan = torch.cat([view(far, dx=6.0 * t) for t in range(frames)])
    yield "letterbox", letterboxed(pan)
    yield "overlay", overlaid(pan)
    yield "fast bright body", torch.cat([bright_body(black, t) for t in range(frames)])
    yield "fast body on texture", torch.cat([bright_body(view(far) / 2, t) for t in range(frames)])
    yield "fade", pan * torch.linspace(1, 0, frames).view(-1, 1, 1, 1)


def photographs() -> Iterator[tuple[str, Tensor]]:
    """Name and T 3 H W: a photograph under a swinging, nearing camera, another in front; unsteady light

    Soft, slow and a little unsteady, as generated clips are.
    """
    stills = [(name, photograph(name)) for name in PHOTOGRAPHS if photograph(name) is not None]
    for seed, (name, far) in enumerate(stills):
        g = torch.Generator().manual_seed(1000 + seed)
        near = stills[seed - 1][1]
        yield name, torch.cat([unsteady(scene(far, near, t, seed), g) for t in range(T)])


def photograph(name: str) -> Tensor | None:
    """1 3 2H 2W of scikit-image's own pictures"""
    spec = importlib.util.find_spec("skimage")
    path = Path(spec.origin).parent / "data" / name if spec and spec.origin else None
    if path is None or not path.exists():
        return None
    with Image.open(path) as still:
        x = torch.from_numpy(np.array(still.convert("RGB"))).movedim(-1, 0)[None].float() / 255
    return F.interpolate(x, size=(2 * H, 2 * W), mode="bicubic", antialias=True).clamp(0, 1)


def scene(far: Tensor, near: Tensor, t: int, seed: int) -> Tensor:
    """1 3 H W at time t of a swing whose speed changes over the clip"""
    swing = math.sin(0.25 * t + seed)
    back = view(far, dx=25 * swing, dy=6 * math.cos(0.2 * t), zoom=1.1 + 0.012 * t, angle=0.02 * swing)
    front = view(near, dx=-40 * swing, zoom=1.3 - 0.01 * t)
    return over(back, front, disc(t, radius=50, speed=4))


def unsteady(x: Tensor, g: torch.Generator) -> Tensor:
    """Another brightness and another faint cloud on every frame: 1 3 H W"""
    cloud = F.interpolate(torch.randn(1, 3, H // 16, W // 16, generator=g), size=(H, W), mode="bicubic")
    return (x * (1 + 0.01 * torch.randn(1, generator=g)) + 0.006 * cloud).clamp(0, 1)


def generated(names: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """Name and T 3 H' W' of every clip of the list that is installed"""
    for name in names:
        path = next((p for folder in template_folders() for p in folder.glob(f"{name}.webp")), None)
        if path:
            yield name, resized(distinct(read(path)))


def template_folders() -> list[Path]:
    parts = ("api", "video", "image", "other", "assets_01")
    found = (importlib.util.find_spec(f"comfyui_workflow_templates_media_{part}") for part in parts)
    return [
        Path(place) / "templates" for spec in found if spec for place in spec.submodule_search_locations or ()
    ]


def read(path: Path, frames: int = 40) -> Tensor:
    """t 3 H W in [0, 1]"""
    with Image.open(path) as film:
        stills = []
        for i in range(min(frames, film.n_frames)):
            film.seek(i)
            stills.append(np.asarray(film.convert("RGB")))
    return torch.from_numpy(np.stack(stills)).movedim(-1, 1).float() / 255


def distinct(x: Tensor) -> Tensor:
    """The T frames in the steadiest motion, without those that only repeat their neighbour"""
    step = -10 * (x[1:] - x[:-1]).square().mean((1, 2, 3)).clamp(min=1e-9).log10()
    keep = [0]
    for i in range(1, len(x)):
        around = torch.cat((step[max(0, i - 4) : i - 1], step[i : i + 4]))
        if step[i - 1] <= around.quantile(0.3) + 5:
            keep.append(i)
    x = x[keep]
    step = -10 * (x[1:] - x[:-1]).square().mean((1, 2, 3)).clamp(min=1e-9).log10()
    unevenness = step.diff().abs().unfold(0, T - 2, 1).mean(1)
    first = int(unevenness.argmin())
    return x[first : first + T]


def resized(x: Tensor) -> Tensor:
    """Wide clips to 512 x 288, squares stay"""
    if x.shape[-1] < W:
        return x
    h = round(x.shape[-2] * W / x.shape[-1])
    x = F.interpolate(x, size=(h, W), mode="bicubic", antialias=True).clamp(0, 1)
    top = max(0, (h - H) // 2)
    return x[..., top : top + H, :]
