"""A worker that makes videos in its own process, with `svd_core.pipeline`."""

import importlib
import io
import json
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from clients import items
from clients.pool import Task

FORMATS = ("webp", "png", "gif", "mp4", "frames")
STILL = "still.jpg"
STILL_WIDTH = 256


@dataclass(frozen=True)
class Renderer:
    """How to open one, on whatever machine: `sha` is what the checkpoint there must hash to."""

    checkpoint: str
    sha: str
    form: str = "webp"
    dtype: str = "float32"
    device: str = "cpu"
    threads: int = 0  # 0: as torch likes

    def __str__(self) -> str:
        return "a worker"

    def open(self) -> "Opened":
        torch = importlib.import_module("torch")
        pipeline = importlib.import_module("svd_core.pipeline")
        if items.digest(Path(self.checkpoint)) != self.sha:
            raise ValueError(
                f"{self.checkpoint} is another file on this machine; put the same checkpoint on every node"
            )
        if self.threads:
            torch.set_num_threads(self.threads)
        dtype = getattr(torch, self.dtype)
        return Opened(self, pipeline, pipeline.load(self.checkpoint, dtype=dtype, device=self.device))


@dataclass
class Opened:
    how: Renderer
    pipeline: Any
    svd: Any
    stopped: bool = False

    def __call__(self, task: Task) -> dict[str, bytes]:
        """The files of one item: a pure function of photo, settings, seed and checkpoint."""
        svd = replace(self.svd, preset=preset(self.svd.preset, task.settings))
        try:
            photo = self.pipeline.open_photo(io.BytesIO(task.photo), svd.preset)
        except (OSError, ValueError, SyntaxError) as error:
            raise ValueError("it cannot be read as a picture; give a whole .jpg, .png or .webp") from error
        condition = self.pipeline.encode(svd, photo.to(self.how.device))
        latent = self.pipeline.sample(svd, condition, seed=task.seed or 0, on_step=self._on_step)
        frames = self.pipeline.decode(svd, latent, on_step=self._on_step)
        return encoded(self.pipeline, frames, self.how.form, svd.preset.fps)

    def _on_step(self, i: int, n: int) -> None:
        if self.stopped:
            raise KeyboardInterrupt

    def stop(self) -> None:
        self.stopped = True


def preset(of: Any, changes: dict[str, Any]) -> Any:
    """A checkpoint's preset with values of it changed, each checked."""
    presets = importlib.import_module("svd_core.checkpoint.presets")
    names = [name for name in asdict(of) if name != "name"]
    if unknown := sorted(set(changes) - set(names)):
        raise ValueError(f"{unknown[0]} is not a setting; choose from {', '.join(names)}")
    values = {name: _value(value, getattr(of, name)) for name, value in changes.items()}
    found = presets.parse_hints(json.dumps({"preset": {**asdict(of), **values}}), "--set").preset
    for name in ("width", "height"):
        if (size := getattr(found, name)) % 64:
            raise ValueError(f"{name} {size} is not a multiple of 64; use {max(64, size // 64 * 64)}")
    return found


def _value(value: Any, now: Any) -> Any:
    """A text of the command line as what the preset holds in its place; what does not fit stays."""
    try:
        return type(now)(value)
    except ValueError:
        return value


def encoded(pipeline: Any, frames: Any, form: str, fps: float) -> dict[str, bytes]:
    """Frames t 3 H W in [-1, 1] as the files of a result, and a small still of the middle one."""
    with tempfile.TemporaryDirectory(prefix="puresvd-") as folder:
        path = Path(folder) / f"video.{form}"
        made: dict[str, bytes] = {}
        if form == "frames":
            for i, frame in enumerate(frames):
                pipeline.save(frame[None], Path(folder) / f"{i + 1:05}.png", fps=fps)
        elif form == "mp4":
            write_mp4(frames, path, fps)
        else:
            pipeline.save(frames, path, fps=fps)
        made = {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir())}
    return {**made, STILL: still(pictures(frames[len(frames) // 2][None])[0])}


def pictures(frames: Any) -> Any:
    """t 3 H W in [-1, 1] -> t H W 3 of whole numbers up to 255"""
    return frames.add(1).mul(127.5).round().byte().movedim(1, -1).contiguous().cpu().numpy()


def still(picture: Any) -> bytes:
    image = importlib.import_module("PIL.Image").fromarray(picture)
    image.thumbnail((STILL_WIDTH, STILL_WIDTH))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return out.getvalue()


def write_mp4(frames: Any, path: Path, fps: float) -> None:
    """H.264 that every player shows, with PyAV, which comes with ComfyUI."""
    av = importlib.import_module("av")
    options = {"crf": "17", "preset": "medium", "threads": "1"}  # one thread: the same bytes everywhere
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=round(fps), options=options)
        stream.height, stream.width = frames.shape[2:]
        stream.pix_fmt = "yuv420p"
        for picture in pictures(frames):
            film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        film.mux(stream.encode())
