"""Videos written with PyAV whose cuts and camera movements are known."""

from fractions import Fraction

import torch

from . import clips


def write(path, frames, *, fps=24.0, codec="libx264"):
    """Frames n 3 H W in [0, 1] as a video file"""
    import av

    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = frames.shape[-2:]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "4", "preset": "veryfast"}
        stream.thread_count = 1
        for frame in frames:
            x = (frame.clamp(0, 1) * 255).round().byte().movedim(0, -1).contiguous().numpy()
            out.mux(stream.encode(av.VideoFrame.from_ndarray(x, format="rgb24")))
        out.mux(stream.encode())
    return path


# what the camera does in a frame, by the names of the trained movements; widths, or degrees
MOVES = {
    "static": dict(),
    "right": dict(pan=1.0),
    "left": dict(pan=-1.0),
    "up": dict(tilt=1.0),
    "down": dict(tilt=-1.0),
    "in": dict(zoom=1.0),
    "out": dict(zoom=-1.0),
    "clockwise": dict(roll=-100.0),  # the picture turns the other way
    "anticlockwise": dict(roll=100.0),
}


def shot(seed, name, *, frames, pace, size):
    """A shot n 3 H W of one movement, and its true speed in widths a frame; a still camera looks at a disc
    that moves
    """
    camera = {k: v * pace for k, v in MOVES[name].items()}
    disc = (0.3, pace, pace / 2) if name == "static" else None
    width, height = size
    x = clips.scene(seed, frames=frames, width=width, height=height, disc=disc, **camera)
    return 0.1 + 0.8 * x, speed(camera, size) if camera else None


def speed(camera, size):
    """Mean length of the camera's flow, in widths a frame"""
    x, y = clips.grid(*size)
    to = clips.move(**camera).float() @ torch.stack([x, y, torch.ones_like(x)]).flatten(1)
    return float((to[:2] - torch.stack([x, y]).flatten(1)).norm(dim=0).mean()) / 2
