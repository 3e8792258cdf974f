"""CONDITIONING changed entry by entry: what the model is told at which noise levels."""

from __future__ import annotations

import math

from torch import Tensor

from ...svd_core.control import motion
from ...svd_core.sampling.noise_levels import SIGMA_MAX, SIGMA_MIN

Entries = list  # of [context n l e, details]
PHOTO = "concat_latent_image"
NUDGE = 1 + 1e-5  # the host counts both ends in; no level of a schedule lies just here


def percent(level: float) -> float:
    """The host's position of a noise level: 0 at the trained 700, 1 at 0.002, even in the logarithm."""
    if level <= SIGMA_MIN:
        return 1.0
    return min(max(math.log(SIGMA_MAX / level) / math.log(SIGMA_MAX / SIGMA_MIN), 0.0), 1.0)


def switched(early: Entries, late: Entries, until: float) -> Entries:
    """What `early` says above a noise level, and `late` from there down."""
    if until >= SIGMA_MAX:
        return late
    border = percent(until * NUDGE)
    return _within(early, 0.0, border) + _within(late, border, 1.0)


def _within(entries: Entries, start: float, end: float) -> Entries:
    """The entries, each only where it held before and between these percents."""
    found = []
    for context, details in entries:
        first, last = max(details.get("start_percent", 0.0), start), min(details.get("end_percent", 1.0), end)
        if first < last:
            found.append([context, {**details, "start_percent": first, "end_percent": last}])
    return found


def with_bucket_raised(entries: Entries, strength: float) -> Entries:
    return [
        (
            [c, {**d, "motion_bucket_id": motion.raised_bucket(d["motion_bucket_id"], strength)}]
            if "motion_bucket_id" in d
            else [c, d]
        )
        for c, d in entries
    ]


def with_photo_blurred(
    entries: Entries, t: int, *, factor: float, strength: float, keep_first: bool
) -> Entries:
    """The encoded photo low-passed, on every frame or on all but the first;
    entries without a photo as they are.
    """
    found = []
    for context, details in entries:
        z = details.get(PHOTO)
        if z is None:
            found.append([context, details])
            continue
        low = motion.low_pass(z, factor, strength)
        if keep_first and t > 1:
            low, z = (rows.expand(t, -1, -1, -1) if len(rows) == 1 else rows for rows in (low, z))
            low = low.clone()
            low[0] = z[0]
        found.append([context, {**details, PHOTO: low}])
    return found


def photo(entries: Entries) -> Tensor:
    """The encoded photo of the first entry that has one: b 4 h w, not scaled."""
    for _, details in entries:
        if details.get(PHOTO) is not None:
            return details[PHOTO]
    raise ValueError("positive holds no photo; wire in positive of Image to Video, or set mean to none")
