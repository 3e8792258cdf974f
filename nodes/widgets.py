"""Inputs that several sampling nodes share, and what their values mean to the core."""

import math
from collections.abc import Callable

import torch
from comfy_api.latest import io
from torch import Tensor

from ..svd_core.checkpoint.presets import Preset
from ..svd_core.control import easing as core_easing
from ..svd_core.sampling import guidance
from ..svd_core.sampling.noise_levels import SCHEDULES, SIGMA_MAX, distilled_levels
from ..svd_core.sampling.samplers import SAMPLERS
from . import convert

AS_TRAINED, DRAWN = "as trained", "drawn"


def steps_input():
    return io.Int.Input(
        "steps",
        default=0,
        min=0,
        max=1000,
        tooltip="Number of denoising steps. 0 takes the checkpoint's own: 25 (svd), 30 (svd_xt), 4 "
        "(AnimateLCM-SVD). Fewer is faster and rougher.",
    )


def schedule_input():
    return io.Combo.Input(
        "schedule",
        options=[AS_TRAINED, *SCHEDULES],
        default=AS_TRAINED,
        tooltip="How noise falls over the steps. as trained: the checkpoint's own; karras: the reference's "
        "choice; ays: Align Your Steps, good at 10 steps; exponential: even in log noise; consistency: for "
        "distilled models such as AnimateLCM-SVD, with the sampler lcm.",
    )


def sampler_input():
    return io.Combo.Input(
        "sampler",
        options=[AS_TRAINED, *SAMPLERS],
        default=AS_TRAINED,
        tooltip="How each step is taken. as trained: the checkpoint's own; euler: the reference; heun: two "
        "evaluations a step; dpmpp_2m: second order at one evaluation; euler_ancestral: adds fresh noise; "
        "lcm: for distilled models such as AnimateLCM-SVD at 4 to 8 steps.",
    )


def guidance_inputs(*, drawn: bool = False):
    """min_cfg, max_cfg and curve; `drawn` offers the curve of a CURVE socket too."""
    return [
        io.Float.Input(
            "min_cfg",
            default=1.0,
            min=0.0,
            max=30.0,
            step=0.1,
            tooltip="Guidance scale, no unit: of the first frame (linear) or both ends (triangle); not used "
            "by constant and as trained. svd 1.0, svd_xt 1.5. Higher follows the photo more closely.",
        ),
        io.Float.Input(
            "max_cfg",
            default=2.5,
            min=0.0,
            max=30.0,
            step=0.1,
            tooltip="Guidance scale, no unit: of the last frame (linear), the middle (triangle) or every "
            "frame (constant); not used by as trained. svd 2.5, svd_xt 3.0. Too high over-saturates.",
        ),
        io.Combo.Input(
            "curve",
            options=[AS_TRAINED, *guidance.CURVES, *([DRAWN] if drawn else [])],
            default=AS_TRAINED,
            tooltip="Guidance over the frames. as trained: the checkpoint's own curve, minimum and maximum, "
            "whatever min_cfg and max_cfg say; linear: min to max; triangle: max in the middle (orbits and "
            "loops); constant: max on every frame; trapezoid: max on all but the first and the last tenth."
            + (" drawn: by your own curve, which is the input drawn." if drawn else ""),
        ),
    ]


def guide_frames_input():
    return io.Int.Input(
        "frames",
        default=14,
        min=1,
        max=1024,
        tooltip="Length in frames, the same number as in Image to Video (svd 14, svd_xt 25).",
    )


def easing_input():
    return io.Curve.Input(
        "easing",
        optional=True,
        socketless=False,
        tooltip="How far the move has come over the clip: from left to right the frames, upwards the share "
        "of the way. A straight line is even speed; a line that comes down again moves back.",
    )


def progress(easing, t: int) -> Tensor:
    """CURVE, as the editor, an HTTP user or another node gives it -> t shares of the way, the first 0"""
    points, interpolation = easing, "monotone_cubic"
    if easing is None:
        points = core_easing.LINEAR
    elif isinstance(easing, dict):
        points, interpolation = easing.get("points"), easing.get("interpolation", interpolation)
    elif hasattr(easing, "interp"):  # the host's own curve
        points = [(i / (t - 1), easing.interp(i / (t - 1))) for i in range(t)] if t > 1 else [(0.0, 0.0)]
        interpolation = "linear"
    try:
        pairs = [(float(x), float(y)) for x, y in points]
    except (TypeError, ValueError):
        raise ValueError(
            f"easing is {str(easing)[:60]}; use a CURVE, or points such as [[0, 0], [0.5, 0.8], [1, 1]]"
        ) from None
    return core_easing.progress(pairs, t=t, interpolation=interpolation)


def chosen(preset: Preset, **values: int | str) -> list:
    """The values of widgets named as the preset's fields, 0 and "as trained" replaced by the preset's."""
    return [getattr(preset, name) if value in (0, AS_TRAINED) else value for name, value in values.items()]


def start_level(latent: dict | None) -> float | None:
    """The noise level at which sampling of this LATENT starts; None: where the schedule does, trained 700.

    A node writes it, as Motion does: latent["start_level"] = s makes `samples` (unscaled,
    as in every LATENT) the mean of the first noised latent, 0.18215 * samples + s * noise,
    and the levels run from s down to 0 in as many steps as asked for. An optional latent["start_variance"],
    of the data around that mean, widens the noise to match. `noise_levels(..., start=)` honours it;
    a finished clip no longer carries it.
    """
    start = None if latent is None else latent.get("start_level")
    if start is None:
        return None
    convert.check_finite(start_level=start)
    return float(start)


def levels_of(preset: Preset, steps: int, schedule: str) -> Tensor:
    """The noise levels of two widgets, 0 and "as trained" replaced by the preset's."""
    steps, schedule = chosen(preset, steps=steps, schedule=schedule)
    return noise_levels(schedule, steps)


def noise_levels(
    schedule: str,
    steps: int,
    *,
    sigma_max: float = SIGMA_MAX,
    sigma_min: float = 0.002,
    rho: float = 7.0,
    denoise: float = 1.0,
    start: float | None = None,
) -> Tensor:
    """steps + 1 noise levels, the last 0; with denoise < 1 the low end of a longer schedule.

    `start` is what `start_level` says: it lowers the first level of every schedule, `sigma_max` that of two.
    """
    convert.check_finite(sigma_max=sigma_max, sigma_min=sigma_min, rho=rho, denoise=denoise)
    top = sigma_max if start is None else min(sigma_max, start)
    check_ends(top, sigma_min, name="sigma_max" if top == sigma_max else "start level")
    if not 0 < denoise <= 1:
        raise ValueError(
            f"denoise {denoise:g} must lie above 0 and at most 1; use 1 to make the whole video anew"
        )
    total = max(steps, int(steps / denoise))
    options = {"karras": dict(sigma_min=sigma_min, sigma_max=top, rho=rho)}
    options["exponential"] = dict(sigma_min=sigma_min, sigma_max=top)
    fixed = {} if start is None else dict(sigma_max=min(start, SIGMA_MAX))
    if schedule == "consistency" and denoise < 1:
        _check_share(steps, total, denoise, len(distilled_levels(**fixed)))
    levels = SCHEDULES[schedule](total, **options.get(schedule, fixed))
    if not levels.isfinite().all():
        raise ValueError(
            f"sigma_max {sigma_max:g}, sigma_min {sigma_min:g} and rho {rho:g} give noise levels that "
            "overflow; use a larger rho, trained: 7"
        )
    return levels[-(steps + 1) :]


def check_ends(sigma_max: float, sigma_min: float, *, name: str = "sigma_max") -> None:
    if not 0 < sigma_min < sigma_max:
        raise ValueError(
            f"sigma_min {sigma_min:g} must lie between 0 and {name} {sigma_max:g}; use the trained 0.002 "
            "and 700"
        )


def _check_share(steps: int, total: int, denoise: float, there: int) -> None:
    """Refuse, in the user's numbers, a share of a schedule that is longer than the one that was distilled."""
    if not 0 < there < total:
        return
    fewer = [f"at most {int(there * denoise)} steps"] if there * denoise >= 1 else []
    more = [f"a denoise of at least {math.ceil(100 * steps / there) / 100:g}"] if steps <= there else []
    raise ValueError(
        f"steps {steps} with denoise {denoise:g} need a schedule of {total} steps, consistency has {there}; "
        "use " + (" or ".join(fewer + more) or "another schedule")
    )


def drawn_curve(drawn: object) -> Callable[[Tensor], Tensor]:
    """CURVE -> the function it draws; one drawn on the node itself is as smooth as it is shown there."""
    shape = convert.curve("drawn", drawn)
    how = drawn.get("interpolation", "linear") if isinstance(drawn, dict) else "linear"
    if not isinstance(drawn, dict) or how == "linear":
        return shape
    return lambda x: core_easing.read(drawn["points"], x, interpolation=str(how)).float()


def frame_scales(
    preset: Preset, min_cfg: float, max_cfg: float, curve: str, *, drawn: object = None
) -> Callable[[int], Tensor]:
    """t -> guidance scale of each frame; "as trained" takes all three numbers from the preset.

    `drawn` is a CURVE, for the curve of that name: min_cfg where it is 0, max_cfg where it is 1.
    """
    convert.check_finite(min_cfg=min_cfg, max_cfg=max_cfg)
    if curve == DRAWN:
        shape = drawn_curve(drawn)
        return lambda t: min_cfg + (max_cfg - min_cfg) * shape(torch.linspace(0, 1, t))
    if curve == AS_TRAINED:
        min_cfg, max_cfg, curve = preset.min_cfg, preset.max_cfg, preset.curve
    return lambda t: guidance.CURVES[curve](min_cfg, max_cfg, t)
