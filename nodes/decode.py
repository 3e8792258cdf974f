"""Latents to frames, exactly, in bounded memory."""

from comfy_api.latest import io

from . import convert
from .host import vae as host_vae

GIB = 2**30


class PureSVDDecode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDDecode",
            display_name="Decode Video",
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
            ],
            outputs=[io.Image.Output(display_name="images", tooltip="The frames in order, values 0..1.")],
        )

    @classmethod
    def execute(cls, vae, samples, memory) -> io.NodeOutput:
        z = convert.latent(samples)
        convert.check_finite(memory=memory)
        return io.NodeOutput(host_vae.exact(vae).decode_exact(z, memory=int(memory * GIB)))
