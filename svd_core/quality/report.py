"""A report in words and as JSON, and two of them side by side."""

from __future__ import annotations

import json
from typing import Any

LEAST_EXPLAINED = 0.2  # share of the change that motion must explain before it is called motion
DIGITS = 6  # significant ones; more is rounding

Report = dict[str, Any]


def motion(report: Report) -> float:
    """The one number for how much a clip moves, in picture widths a second;
    0 where motion explains too little
    """
    return float(report["motion"]["speed"]) if report["motion"]["counts"] else 0.0


def only_cuts(report: Report) -> bool:
    """Is every frame a new scene, so that nothing can be followed?"""
    cuts = report.get("cuts", [])
    return bool(cuts) and len(cuts) == report["frames"] - 1


def as_json(report: Report) -> str:
    return json.dumps(rounded({**report, "summary": summary(report)}), indent=1, allow_nan=False)


def rounded(value: Any) -> Any:
    """The same, every number with `DIGITS` digits"""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def summary(report: Report) -> list[str]:
    """What a person wants to know first, a line each"""
    motion, light, drift, detail = (report[name] for name in ("motion", "light", "drift", "detail"))
    return [
        f"{report['frames']} frames of {report['width']}x{report['height']}, {report['seconds']:.2f} s",
        moves(report),
        f"unsteadiness (jerk) {motion['jerk']:.4f} widths/s from frame to frame",
        f"flicker {percent(light['flicker'])} of white, largest jump of light {percent(light['jump'])}",
        (
            f"drift over the clip: brightness {percent(drift['brightness'])}, contrast "
            f"{percent(drift['contrast'])}, saturation {percent(drift['saturation'])}, colour "
            f"{percent(drift['colour'])}"
        ),
        (
            f"sharpness at the end {of_first(detail['sharpness'])}, noise {percent(detail['noise'])}, "
            f"clipped {percent(detail['clipped'])} (photo {percent(detail['clipped_of_photo'])})"
        ),
        (
            f"cuts: {len(report['cuts'])}; repeated frames: {report['still']['pairs']}, "
            f"most in a row: {report['still']['longest']}"
        ),
        *seam(report["loop"]),
        *likeness(report["photo"]),
    ]


def moves(report: Report) -> str:
    motion, camera = report["motion"], report["camera"]
    if only_cuts(report):
        return "no motion that can be followed: every frame is a new scene"
    if motion["explained"] is None:
        return "nothing moves"
    if not motion["counts"]:
        return (
            f"no motion that can be followed: it explains {percent(motion['explained'])} of what changes, so "
            "this is noise, flicker or break-up"
        )
    return (
        f"motion {motion['speed']:.4f} widths/s: camera {motion['camera']:.4f} (pan {camera['pan']:+.4f}, "
        f"tilt {camera['tilt']:+.4f}, zoom {percent(camera['zoom'])}/s, roll {camera['roll']:+.2f} "
        f"degrees/s), objects {motion['object']:.4f}; it explains {percent(motion['explained'])} of what "
        f"changes{followed(motion['followed'])}"
    )


def followed(share: float | None) -> str:
    return "" if share is None else f", {percent(share)} of the picture can be followed"


def seam(loop: dict[str, float | None] | None) -> list[str]:
    if loop is None:
        return []
    position, velocity, back = (loop[name] for name in ("position", "velocity", "there_and_back"))
    if position is None:
        return ["seam: nothing moves"]
    return [
        f"seam: jumps {position:.2f} times a usual step, changes speed {velocity or 0:.2f} times as much as "
        f"usual, there and back {back or 0:.2f}"
    ]


def likeness(photo: dict[str, Any]) -> list[str]:
    name = "photo" if photo["given"] else "first frame"
    lines = [
        f"closeness to the {name}: first {photo['psnr_first']:.1f} dB, last {photo['psnr_last']:.1f} dB, "
        f"worst {photo['psnr_worst']:.1f} dB"
    ]
    if photo.get("encoder"):
        seen = ", ".join(f"{x:.4f}" for x in photo["encoder"])
        lines.append(f"distance from the {name} for the image encoder, first, middle, last: {seen}")
    return lines


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def of_first(ratio: float | None) -> str:
    return "unknown (a flat first frame)" if ratio is None else f"{percent(ratio)} of the first frame's"


def flat(report: Report) -> dict[str, float]:
    """The single numbers of a report by their path, `motion.speed`; lists of cuts and the like count"""
    found: dict[str, float] = {"cuts": float(len(report["cuts"]))}
    for name, part in report.items():
        if isinstance(part, dict) and not name.startswith("per_"):
            numbers = {
                key: v for key, v in part.items() if isinstance(v, int | float) and not isinstance(v, bool)
            }
            found |= {f"{name}.{key}": float(v) for key, v in numbers.items()}
    return found


def compared(a: Report, b: Report) -> list[str]:
    """A table of both: name, first, second, difference"""
    p, q = flat(a), flat(b)
    rows = [f"{'measure':24}{'first':>12}{'second':>12}{'difference':>12}"]
    for name in p:
        if name in q:
            rows.append(f"{name:24}{p[name]:12.5g}{q[name]:12.5g}{q[name] - p[name]:+12.3g}")
    return rows
