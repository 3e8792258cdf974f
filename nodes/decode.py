"""Latents to frames, exactly, in bounded memory."""

import torch
from comfy_api.latest import io
from torch import Tensor

from . import convert
from .host import vae as host_vae

GIB = 2**30


class PureSVDDecode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDDecode",
            display_name="Decode Video (SVD)",
            category="video/svd",
            description="Turn a video latent into frames. The result is the one-shot decode of the whole "
            "clip whatever memory is free: no chunk borders, no tiles, no flicker between chunks.",
            search_aliases=["svd", "VAEDecode", "VAEDecodeTiled", "vae decode", "decode latent"],
            inputs=[
                io.Vae.Input("vae", tooltip="The VAE of the checkpoint that made the latent."),
                io.Latent.Input("samples", tooltip="One clip: frames along the first axis."),
                io.Float.Input(
                    "memory",
                    default=0.0,
                    min=0.0,
                    max=1024.0,
                    step=0.5,
                    tooltip="Memory for activations in GiB; 0 uses what is free. Less is slower, never "
                    "different: the pixels stay the same up to rounding.",
                ),
                io.Image.Input(
                    "last_image",
                    optional=True,
                    tooltip="Takes the last frame's place, pixel by pixel: the photo of Image to Orbit, "
                    "whose last frame is the view that was given.",
                ),
            ],
            outputs=[io.Image.Output(display_name="images", tooltip="The frames in order, values 0..1.")],
        )

    @classmethod
    def execute(cls, vae, samples, memory, last_image=None) -> io.NodeOutput:
        z = convert.latent(samples)
        convert.check_finite(memory=memory)
        last = None if last_image is None else last_frame(last_image, z)
        images = host_vae.exact(vae).decode_exact(z, memory=int(memory * GIB))
        return io.NodeOutput(images if last is None else torch.cat([images[:-1], last.to(images)]))


def last_frame(image: Tensor, z: Tensor) -> Tensor:
    """IMAGE of one picture that fits latents t 4 h w -> 1 H W 3"""
    photo = convert.one_photo(image)
    found, wanted = photo.shape[-2:], [convert.GRID * side for side in z.shape[-2:]]
    if list(found) != wanted:
        raise ValueError(
            f"last_image is {found[1]}x{found[0]} pixels, the video {wanted[1]}x{wanted[0]}; wire in the "
            "photo of Image to Orbit"
        )
    return photo.movedim(1, -1)
