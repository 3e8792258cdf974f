"""Live previews show every frame of the clip, under our sampler and the host's,
as the user's preview setting wants.
"""

import asyncio
import io
import json
import os
import statistics
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

aiohttp = pytest.importorskip("aiohttp")


ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / "workflows" / "api"
OLDER = [Path(path) for path in os.environ.get("PURESVD_OLDER_HOSTS", "").split(os.pathsep) if path]
SAMPLERS = {
    "PureSVDSample": "image_to_video",
    "KSampler": "image_to_video_native_sampler",
    "SamplerCustomAdvanced": "image_to_video_custom_sampler",
}
STEPS, FRAMES, WIDTH, HEIGHT = 3, 7, 192, 128
SHEET = (2, 4)  # columns and rows in which seven frames of 24 x 16 latents are largest within a square
LARGEST = 512  # the host's --preview-size
TEXT = 3  # a message of the host's that is words on a node, not a picture


def sampling(photo, sampler, output=0):
    """A bundled prompt on the tiny checkpoint up to its sampler, whose latents are saved as a file."""
    prompt = json.loads((WORKFLOWS / f"{SAMPLERS[sampler]}.json").read_text(encoding="utf-8"))
    wanted = {
        "image": photo,
        "ckpt_name": "tiny.safetensors",
        "steps": STEPS,
        "frames": FRAMES,
        "width": WIDTH,
        "height": HEIGHT,
    }
    for node in prompt.values():
        node["inputs"] |= {
            name: value
            for name, value in wanted.items()
            if name in node["inputs"] and not isinstance(node["inputs"][name], list)
        }
    (key,) = (key for key, node in prompt.items() if node["class_type"] == sampler)
    keep, open_ends = {}, [key]
    while open_ends:
        at = open_ends.pop()
        keep[at] = prompt[at]
        open_ends += [value[0] for value in prompt[at]["inputs"].values() if isinstance(value, list)]
    save = {"samples": [key, output], "filename_prefix": f"preview-{uuid.uuid4().hex}"}
    return {**keep, "save": {"class_type": "SaveLatent", "inputs": save}}


async def run(address, prompt, method):
    """The pictures a browser receives while the prompt runs, each after the message that divides it."""
    client, pictures, layouts = uuid.uuid4().hex, [], []
    body = {"prompt": prompt, "client_id": client, "extra_data": {"preview_method": method}}
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(f"{address}/ws?clientId={client}", max_msg_size=0) as socket:
            async with session.post(f"{address}/prompt", json=body) as answer:
                assert answer.status == 200, await answer.text()
            while True:
                message = await socket.receive(timeout=60)
                if message.type == aiohttp.WSMsgType.BINARY:
                    if int.from_bytes(message.data[:4], "big") == TEXT:
                        continue
                    pictures.append(Image.open(io.BytesIO(message.data[8:])))
                    continue
                event = json.loads(message.data)
                assert event["type"] != "execution_error", event
                if event["type"] == "puresvd.sheet":
                    assert len(layouts) == len(pictures)
                    layouts.append(event["data"])
                if event["type"] == "execution_success":
                    assert len(layouts) == len(pictures)
                    return pictures, layouts


def watch(server, sampler, method="latent2rgb", output=0):
    """(pictures sent, latents t 4 h w) of one run; every picture is announced as the grid that it is."""
    prompt = sampling(server.client.upload(ROOT / "assets" / "sample.jpg"), sampler, output)
    pictures, layouts = asyncio.run(run(server.client.server, prompt, method))
    node, size = prompt["save"]["inputs"]["samples"][0], {"width": WIDTH // 8, "height": HEIGHT // 8}
    grid = {"columns": SHEET[0], "rows": SHEET[1], "frames": FRAMES}
    assert all(layout == {"node": node, **grid, **size} for layout in layouts)
    (file,) = (server.base / "output").glob(f"{prompt['save']['inputs']['filename_prefix']}*.latent")
    from safetensors.torch import load_file

    return pictures, load_file(file)["latent_tensor"]


def likeness(picture, z, factors):
    """Correlation of every cell of the sheet with every frame: cells t."""
    t, _, h, w = z.shape
    columns, rows = SHEET
    size = (columns * (w + 1) - 1, rows * (h + 1) - 1)
    assert picture.size == ImageOps.contain(Image.new("RGB", size), (LARGEST, LARGEST)).size
    sheet = np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BOX), np.float32)
    frames = ((z.movedim(1, -1) * 0.18215) @ factors).clamp(-1, 1).numpy()
    cells = [
        sheet[r * (h + 1) : r * (h + 1) + h, k * (w + 1) : k * (w + 1) + w]
        for r in range(rows)
        for k in range(columns)
    ]
    assert max(cell.max() for cell in cells[t:]) < 64, "empty cells are black but for the JPEG's ringing"
    return np.array([[np.corrcoef(cell.ravel(), f.ravel())[0, 1] for f in frames] for cell in cells[:t]])


@pytest.fixture(scope="module")
def factors(host):
    import comfy.latent_formats

    return torch.tensor(comfy.latent_formats.SD15().latent_rgb_factors)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_step_shows_every_frame(server, factors, sampler):
    pictures, z = watch(server, sampler)
    assert z.shape[0] == FRAMES
    assert len(pictures) == STEPS
    found = likeness(pictures[-1], z, factors)  # the last step's estimate is the result
    assert found.argmax(1).tolist() == list(range(FRAMES))
    assert found.diagonal().min() > 0.9, found.diagonal()  # enlarging, JPEG and shrinking blur by a pixel


def test_first_setting_of_the_host_shows_nothing(server):
    assert watch(server, "PureSVDSample", method="none")[0] == []


def test_denoised_output_of_the_native_sampler_is_still_a_clip(server, factors):
    """The previewed estimate is also that node's second output; it must not become a sheet."""
    pictures, z = watch(server, "SamplerCustomAdvanced", output=1)
    assert z.shape == (FRAMES, 4, HEIGHT // 8, WIDTH // 8)
    assert likeness(pictures[-1], z, factors).argmax(1).tolist() == list(range(FRAMES))


@pytest.mark.parametrize("path", OLDER, ids=lambda path: path.name)
def test_older_hosts_show_every_frame_too(path, start_server, factors):
    with start_server(path) as older:
        for sampler in ("PureSVDSample", "KSampler"):
            pictures, z = watch(older, sampler)
            assert len(pictures) == STEPS
            assert likeness(pictures[-1], z, factors).argmax(1).tolist() == list(range(FRAMES))


@pytest.mark.parametrize(
    ("t", "h", "w", "expected"),
    [
        (1, 8, 8, (1, 1)),
        (2, 72, 128, (1, 2)),
        (2, 128, 72, (2, 1)),
        (14, 32, 32, (4, 4)),
        (14, 72, 128, (3, 5)),
        (25, 72, 128, (4, 7)),
        (21, 72, 72, (5, 5)),
    ],
)
def test_frames_are_as_large_as_a_square_allows(host, t, h, w, expected):
    assert host.pack("nodes.host.preview").grid(t, h, w) == expected


def test_long_clips_are_shrunk_before_they_are_drawn(host):
    preview = host.pack("nodes.host.preview")
    z = torch.arange(100.0).view(100, 1, 1, 1).expand(100, 4, 72, 128)
    sheet = preview.contact_sheet(z, gap=torch.zeros(4), largest=512)
    assert max(sheet.shape) < 2 * 512
    columns, rows = preview.grid(100, 72, 128)
    assert set(sheet.unique().tolist()) == set(range(100))
    assert torch.equal(preview.contact_sheet(z[:1], gap=torch.zeros(4), largest=512), z[:1])


def test_preview_costs_less_than_a_fiftieth_of_a_step(host):
    """The embedded checkpoint at its own size, whose step costs least, so the share is largest: 0.6 %."""
    import latent_preview
    from comfy.cli_args import LatentPreviewMethod, args

    loader = host.node("PureSVDLoadCheckpoint").INPUT_TYPES()["required"]["ckpt_name"][1]["options"]
    model, clip_vision, vae = host.run("PureSVDLoadCheckpoint", ckpt_name=loader[0], weight_dtype="default")
    x = torch.randn(14, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    method, args.preview_method = args.preview_method, LatentPreviewMethod.Latent2RGB
    previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
    args.preview_method = method
    network = model.model.diffusion_model
    config, dtype = network.config, network.dtype
    inputs = (
        torch.cat([x, x], 1).to(dtype),
        torch.zeros(14),
        torch.zeros(14, 1, config.context_dim, dtype=dtype),
        torch.zeros(14, config.adm_in_channels, dtype=dtype),
    )

    def draw():
        _, picture, size = previewer.decode_latent_to_preview_image("JPEG", x)
        ImageOps.contain(picture, (size, size)).save(io.BytesIO(), "JPEG", quality=95)

    share = median(draw, 20) / median(lambda: network(*inputs, num_video_frames=14), 3)
    assert share < 0.02, f"{share:.1%} of a step"


def median(function, times):
    """Seconds of the processor, whatever else runs beside it."""
    seconds = []
    for _ in range(times):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def test_animated_previewers_of_other_packs_get_as_many_pictures_as_frames(ours):
    """They keep what the host's previewer holds, hand it a slice of the frames and send each by itself."""
    import latent_preview

    form = ours.model.model.latent_format
    host = latent_preview.Latent2RGBPreviewer(form.latent_rgb_factors, None, form.latent_rgb_factors_reshape)

    class Animated(latent_preview.LatentPreviewer):
        def __init__(self, previewer):
            self.reshape = previewer.latent_rgb_factors_reshape

        def pictures(self, x0):
            return self.reshape(x0)

    z = torch.randn(14, 4, 8, 12, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Animated(host).pictures(z[:12]), z[:12])
    width, height = host.decode_latent_to_preview(z).size
    assert (width, height) != (12, 8), "the host still shows the sheet of all frames"
    assert width * height >= 14 * 12 * 8
