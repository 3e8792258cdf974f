"""Noise levels, for SamplerCustomAdvanced."""

from comfy_api.latest import io

from . import convert, widgets
from .host import trained
from .host.say import say
from .validate import verdict


def _range_inputs():
    return [
        io.Float.Input(
            "sigma_max",
            default=700.0,
            min=0.01,
            max=10000.0,
            step=0.01,
            round=False,
            advanced=True,
            tooltip="Noise level at which sampling starts, standard deviation in latent units; lower keeps "
            "more of the incoming latent. Trained: 700. Used by karras and exponential.",
        ),
        io.Float.Input(
            "sigma_min",
            default=0.002,
            min=0.0001,
            max=100.0,
            step=0.0001,
            round=False,
            advanced=True,
            tooltip="Lowest noise level before 0, standard deviation in latent units; higher makes the last "
            "step coarser. Trained: 0.002. Used by karras and exponential.",
        ),
        io.Float.Input(
            "rho",
            default=7.0,
            min=0.1,
            max=100.0,
            step=0.1,
            round=False,
            advanced=True,
            tooltip="Curvature, no unit: higher spends more steps on low noise. Trained: 7. Used by karras.",
        ),
        io.Float.Input(
            "denoise",
            default=1.0,
            min=0.01,
            max=1.0,
            step=0.01,
            tooltip="Share of the schedule that is run, 0 to 1; below 1 keeps part of the incoming latent. "
            "Trained: 1.",
        ),
    ]


class PureSVDSigmas(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDSigmas",
            display_name="Video Noise Levels (SVD)",
            category="video/svd",
            description="The noise levels of each step, for SamplerCustomAdvanced.",
            search_aliases=["svd", "sigmas", "scheduler", "align your steps"],
            inputs=[
                widgets.schedule_input(),
                widgets.steps_input(),
                *_range_inputs(),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The model that will be sampled, so that steps 0 and as trained are its own; "
                    "without it they are those of svd.",
                ),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="The latent that will be sampled, so that levels start where it says.",
                ),
            ],
            outputs=[
                io.Sigmas.Output(display_name="sigmas", tooltip="steps + 1 noise levels, the last is 0.")
            ],
        )

    @classmethod
    def validate_inputs(cls, sigma_max=None, sigma_min=None) -> bool | str:
        return verdict(cls, widgets.check_ends, sigma_max=sigma_max, sigma_min=sigma_min)

    @classmethod
    def execute(
        cls, schedule, steps, sigma_max, sigma_min, rho, denoise, model=None, latent=None
    ) -> io.NodeOutput:
        preset, notes = trained.of_model(model)
        asked = steps == 0 or schedule == widgets.AS_TRAINED
        schedule, steps = widgets.chosen(preset, schedule=schedule, steps=steps)
        start = None
        if latent is not None:
            convert.latent(latent)
            start = widgets.start_level(latent)
        numbers = {"sigma_max": sigma_max, "sigma_min": sigma_min, "rho": rho, "denoise": denoise}
        levels = widgets.noise_levels(schedule, steps, **numbers, start=start)
        return io.NodeOutput(levels, ui=say(notes if asked else []))
