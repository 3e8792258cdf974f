"""Noise levels, guidance and sampling."""

from comfy_api.latest import io

from ..svd_core.sampling import guidance
from ..svd_core.sampling import samplers as sampling
from . import convert
from .host import guider as host_guider

SCHEDULES = {
    "karras": sampling.karras,
    "ays": sampling.ays,
    "exponential": sampling.exponential,
    "consistency": sampling.consistency,
}


def _dpmpp_2m(denoise, x, sigmas, *, generator, on_step):
    return sampling.dpmpp_2m(denoise, x, sigmas, on_step=on_step)  # draws nothing


SAMPLERS = {**sampling.SAMPLERS, "dpmpp_2m": _dpmpp_2m}


def steps_input():
    return io.Int.Input(
        "steps", default=25, min=1, max=1000,
        tooltip="Number of denoising steps. The released checkpoints use 25 (svd) or 30 (svd_xt); fewer is "
        "faster and rougher.",
    )  # fmt: skip


def schedule_input():
    return io.Combo.Input(
        "schedule", options=list(SCHEDULES), default="karras",
        tooltip="How noise falls over the steps. karras: the reference's choice; ays: Align Your Steps, good "
        "at 10 steps; exponential: even in log noise; consistency: for distilled models such as "
        "AnimateLCM-SVD, with the sampler lcm.",
    )  # fmt: skip


def guidance_inputs():
    return [
        io.Float.Input(
            "min_cfg", default=1.0, min=0.0, max=30.0, step=0.1,
            tooltip="Guidance scale, no unit: of the first frame (linear) or both ends (triangle); not used "
            "by constant. svd 1.0, svd_xt 1.5. Higher follows the photo more closely.",
        ),
        io.Float.Input(
            "max_cfg", default=2.5, min=0.0, max=30.0, step=0.1,
            tooltip="Guidance scale, no unit: of the last frame (linear), the middle (triangle) or every "
            "frame (constant). svd 2.5, svd_xt 3.0. Too high over-saturates.",
        ),
        io.Combo.Input(
            "curve", options=list(guidance.CURVES), default="linear",
            tooltip="Guidance over the frames. linear: min to max, as trained; triangle: max in the middle "
            "(orbits and loops); constant: max on every frame.",
        ),
    ]  # fmt: skip


def noise_levels(schedule, steps, *, sigma_max=700.0, sigma_min=0.002, rho=7.0, denoise=1.0):
    """steps + 1 noise levels, the last 0; with denoise < 1 the low end of a longer schedule."""
    convert.check_finite(sigma_max=sigma_max, sigma_min=sigma_min, rho=rho, denoise=denoise)
    if not 0 < sigma_min < sigma_max:
        raise ValueError(
            f"sigma_min {sigma_min:g} must lie between 0 and sigma_max {sigma_max:g}; use the trained 0.002 and 700"
        )
    if not 0 < denoise <= 1:
        raise ValueError(
            f"denoise {denoise:g} must lie above 0 and at most 1; use 1 to make the whole video anew"
        )
    total = max(steps, int(steps / denoise))
    options = {"karras": dict(sigma_min=sigma_min, sigma_max=sigma_max, rho=rho)}
    options["exponential"] = dict(sigma_min=sigma_min, sigma_max=sigma_max)
    levels = SCHEDULES[schedule](total, **options.get(schedule, {}))
    if not levels.isfinite().all():
        raise ValueError(
            f"sigma_max {sigma_max:g}, sigma_min {sigma_min:g} and rho {rho:g} give noise levels beyond any number; "
            "use a larger rho, trained: 7"
        )
    return levels[-(steps + 1) :]


def frame_scales(min_cfg, max_cfg, curve):
    """t -> guidance scale of each frame"""
    convert.check_finite(min_cfg=min_cfg, max_cfg=max_cfg)
    return lambda t: guidance.CURVES[curve](min_cfg, max_cfg, t)


class PureSVDSigmas(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDSigmas",
            display_name="Video Noise Levels",
            category="video/svd",
            description="The noise levels of each step, for SamplerCustomAdvanced.",
            search_aliases=["svd", "sigmas", "scheduler", "align your steps"],
            inputs=[
                schedule_input(),
                steps_input(),
                io.Float.Input(
                    "sigma_max", default=700.0, min=0.01, max=10000.0, step=0.01, round=False, advanced=True,
                    tooltip="Noise level at which sampling starts, standard deviation in latent units; lower keeps "
                    "more of the incoming latent. Trained: 700. Used by karras and exponential.",
                ),
                io.Float.Input(
                    "sigma_min", default=0.002, min=0.0001, max=100.0, step=0.0001, round=False, advanced=True,
                    tooltip="Lowest noise level before 0, standard deviation in latent units; higher makes the "
                    "last step coarser. Trained: 0.002. Used by karras and exponential.",
                ),
                io.Float.Input(
                    "rho", default=7.0, min=0.1, max=100.0, step=0.1, round=False, advanced=True,
                    tooltip="Curvature, no unit: higher spends more steps on low noise. Trained: 7. Used by karras.",
                ),
                io.Float.Input(
                    "denoise", default=1.0, min=0.01, max=1.0, step=0.01,
                    tooltip="Share of the schedule that is run, 0 to 1; below 1 keeps part of the incoming latent. "
                    "Trained: 1.",
                ),
            ],
            outputs=[io.Sigmas.Output(display_name="sigmas", tooltip="steps + 1 noise levels, the last is 0.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, schedule, steps, sigma_max, sigma_min, rho, denoise) -> io.NodeOutput:
        levels = noise_levels(
            schedule, steps, sigma_max=sigma_max, sigma_min=sigma_min, rho=rho, denoise=denoise
        )
        return io.NodeOutput(levels)


class PureSVDGuider(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDGuider",
            display_name="Video Guider",
            category="video/svd",
            description="One guidance scale per frame, for SamplerCustomAdvanced. Replaces guidance that another "
            "node patched onto the model; the model itself is left as it is.",
            search_aliases=["svd", "cfg", "guidance", "linear cfg"],
            inputs=[
                io.Model.Input("model", tooltip="An SVD model."),
                io.Conditioning.Input("positive", tooltip="What Image to Video says about the photo."),
                io.Conditioning.Input("negative", tooltip="Its counterpart without the photo."),
                *guidance_inputs(),
            ],
            outputs=[
                io.Guider.Output(
                    display_name="guider", tooltip="For the guider socket of SamplerCustomAdvanced."
                )
            ],
        )

    @classmethod
    def execute(cls, model, positive, negative, min_cfg, max_cfg, curve) -> io.NodeOutput:
        convert.conditioning("positive", positive)
        convert.conditioning("negative", negative)
        return io.NodeOutput(
            host_guider.make_guider(model, positive, negative, frame_scales(min_cfg, max_cfg, curve))
        )


class PureSVDSample(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PureSVDSample",
            display_name="Sample Video",
            category="video/svd",
            description="Denoise a video latent with per-frame guidance. The simple road; for custom samplers "
            "wire Video Guider and Video Noise Levels into SamplerCustomAdvanced.",
            search_aliases=["svd", "ksampler", "sampler"],
            inputs=[
                io.Model.Input("model", tooltip="An SVD model."),
                io.Conditioning.Input("positive", tooltip="What Image to Video says about the photo."),
                io.Conditioning.Input("negative", tooltip="Its counterpart without the photo."),
                io.Latent.Input("latent", tooltip="The empty clip from Image to Video."),
                io.Int.Input(
                    "seed", default=0, min=0, max=0xFFFF_FFFF_FFFF_FFFF, control_after_generate=True,
                    tooltip="Which noise to start from. The same seed gives the same noise as native "
                    "samplers, and the same video each time.",
                ),
                steps_input(),
                *guidance_inputs(),
                schedule_input(),
                io.Combo.Input(
                    "sampler", options=list(SAMPLERS), default="euler",
                    tooltip="How each step is taken. euler: the reference; heun: two evaluations a step; "
                    "dpmpp_2m: second order at one evaluation; euler_ancestral: adds fresh noise; "
                    "lcm: for distilled models such as AnimateLCM-SVD at 4 to 8 steps.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The denoised clip, for Decode Video.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model, positive, negative, latent, seed, steps, min_cfg, max_cfg, curve, schedule, sampler
    ) -> io.NodeOutput:
        convert.latent(latent)
        convert.conditioning("positive", positive)
        convert.conditioning("negative", negative)
        guider = host_guider.make_guider(model, positive, negative, frame_scales(min_cfg, max_cfg, curve))
        method = host_guider.sampler(SAMPLERS[sampler])
        levels = noise_levels(schedule, steps)
        return io.NodeOutput(host_guider.sample(guider, latent, method, levels, seed))
