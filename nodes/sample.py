"""Sampling in one node."""

from comfy_api.latest import io

from ..svd_core.sampling.samplers import SAMPLERS
from . import convert, widgets
from .host import guider as host_guider
from .host import trained
from .host.say import say


class PureSVDSample(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDSample",
            display_name="Sample Video",
            category="video/svd",
            description="Denoise a video latent with per-frame guidance. The simple way; for custom samplers "
            "wire Video Guider and Video Noise Levels into SamplerCustomAdvanced.",
            search_aliases=[
                "svd",
                "VideoLinearCFGGuidance",
                "VideoTriangleCFGGuidance",
                "ksampler",
                "sampler",
            ],
            inputs=[
                io.Model.Input("model", tooltip="An SVD model."),
                io.Conditioning.Input(
                    "positive", tooltip="Conditioning with the photo, from Image to Video."
                ),
                io.Conditioning.Input("negative", tooltip="Its counterpart without the photo."),
                io.Latent.Input("latent", tooltip="The empty clip from Image to Video."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFF_FFFF_FFFF_FFFF,
                    control_after_generate=True,
                    tooltip="Which noise to start from. The same seed gives the same noise as native "
                    "samplers, and the same video each time.",
                ),
                widgets.steps_input(),
                *widgets.guidance_inputs(),
                widgets.schedule_input(),
                widgets.sampler_input(),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The denoised clip, for Decode Video.")],
        )

    @classmethod
    def execute(
        cls, model, positive, negative, latent, seed, steps, min_cfg, max_cfg, curve, schedule, sampler
    ) -> io.NodeOutput:
        convert.latent(latent)
        convert.conditioning("positive", positive)
        convert.conditioning("negative", negative)
        preset, notes = trained.of_model(model)
        asked = widgets.AS_TRAINED in (curve, schedule, sampler) or steps == 0
        scales = widgets.frame_scales(preset, min_cfg, max_cfg, curve)
        steps, schedule, sampler = widgets.chosen(preset, steps=steps, schedule=schedule, sampler=sampler)
        levels = widgets.noise_levels(schedule, steps, start=widgets.start_level(latent))
        guider = host_guider.make_guider(model, positive, negative, scales)
        shown = say((notes if asked else []) + guider.notes)
        out = host_guider.sample(guider, latent, host_guider.sampler(SAMPLERS[sampler]), levels, seed)
        return io.NodeOutput(out, ui=shown)
