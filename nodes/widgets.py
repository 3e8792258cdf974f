"""Inputs that several sampling nodes share, and what their values mean to the core."""

from comfy_api.latest import io

from ..svd_core.sampling import guidance
from ..svd_core.sampling.noise_levels import SCHEDULES
from . import convert


def steps_input():
    return io.Int.Input(
        "steps",
        default=25,
        min=1,
        max=1000,
        tooltip="Number of denoising steps. The released checkpoints use 25 (svd) or 30 (svd_xt); fewer is "
        "faster and rougher.",
    )


def schedule_input():
    return io.Combo.Input(
        "schedule",
        options=list(SCHEDULES),
        default="karras",
        tooltip="How noise falls over the steps. karras: the reference's choice; ays: Align Your Steps, good "
        "at 10 steps; exponential: even in log noise; consistency: for distilled models such as "
        "AnimateLCM-SVD, with the sampler lcm.",
    )


def guidance_inputs():
    return [
        io.Float.Input(
            "min_cfg",
            default=1.0,
            min=0.0,
            max=30.0,
            step=0.1,
            tooltip="Guidance scale, no unit: of the first frame (linear) or both ends (triangle); not used "
            "by constant. svd 1.0, svd_xt 1.5. Higher follows the photo more closely.",
        ),
        io.Float.Input(
            "max_cfg",
            default=2.5,
            min=0.0,
            max=30.0,
            step=0.1,
            tooltip="Guidance scale, no unit: of the last frame (linear), the middle (triangle) or every "
            "frame (constant). svd 2.5, svd_xt 3.0. Too high over-saturates.",
        ),
        io.Combo.Input(
            "curve",
            options=list(guidance.CURVES),
            default="linear",
            tooltip="Guidance over the frames. linear: min to max, as trained; triangle: max in the middle "
            "(orbits and loops); constant: max on every frame.",
        ),
    ]


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
