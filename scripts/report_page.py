"""The page of scripts/report.py, and what on it differs more than it should."""

import re

from scripts import cache

STAGES = ("load", "describe the photo", "sample", "decode")
RESULTS = ("image embedding", "photo latent", "latent", "frames")
ALLOWED = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}  # relative error, against the first way
SLOWER, LARGER = 1.1, 1.1  # times native's seconds and peak memory
NOTABLE = 0.5  # seconds below which nothing is said about time
GIB = 2**30


def version() -> str:
    text = (cache.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^version = "(.+?)"', text, re.M)
    return found.group(1) if found else "unknown"


def page(about: dict, job: dict, ways: list[dict]) -> str:
    """Markdown."""
    run = f"{job['frames']} frames of {job['width']} x {job['height']}, {job['steps']} steps of euler, karras"
    rows = [
        ("file", about["file"]),
        ("which is", "; ".join(about["what"])),
        ("run", f"{run}, guidance {job['min_cfg']:g} to {job['max_cfg']:g}, the pack's sample photo"),
        ("device", f"{about['device']}; {about['system']}"),
        ("versions", ", ".join(f"{name} {value}" for name, value in about["versions"].items())),
        ("number format", ", ".join(f"{way['name']} {way['dtype'] or '?'}" for way in ways)),
    ]
    found = differences(ways)
    parts = [
        "## PureSVD report",
        table(("", ""), rows),
        "Seconds of one run, which other work on the machine spoils, and peak memory with the weights:",
        table(("Stage", *(way["name"] for way in ways)), [_stage(name, ways) for name in STAGES]),
        f"Relative difference from {_first(ways)}, each stage given the same input:",
        table(("Result", *(way["name"] for way in ways)), [_result(name, ways) for name in RESULTS]),
        "### Differs more than it should",
        "\n".join(f"- {line}" for line in found) or "Nothing.",
    ]
    notes = [f"- {way['name']}: {note}" for way in ways for note in way["notes"]]
    return "\n\n".join(parts + (["### Notes", "\n".join(notes)] if notes else [])) + "\n"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in lines)


def _stage(name: str, ways: list[dict]) -> tuple[str, ...]:
    return (name, *(_cost(way["seconds"].get(name), way["peaks"].get(name)) for way in ways))


def _cost(seconds: float | None, peak: int | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.2f} s" if peak is None else f"{seconds:.2f} s, {peak / GIB:.2f} GiB"


def _result(name: str, ways: list[dict]) -> tuple[str, ...]:
    return (name, *(f"{way['errors'][name]:.1e}" if name in way["errors"] else "-" for way in ways))


def _first(ways: list[dict]) -> str:
    return next((way["name"] for way in ways if not way["failed"]), "the first way")


def differences(ways: list[dict]) -> list[str]:
    """A sentence for each result, time or peak that should not be as it is."""
    found = [f"{way['name']} did not finish: {way['failed']}" for way in ways if way["failed"]]
    dtypes = {way["dtype"] for way in ways if way["dtype"]}
    allowed = max((ALLOWED.get(dtype, ALLOWED["float32"]) for dtype in dtypes), default=0.0)
    for way in ways:
        for name, error in way["errors"].items():
            if not error <= allowed:  # NaN is no agreement either
                found.append(f"{way['name']}: {name} differs by {error:.1e}; {allowed:.0e} is allowed")
    named = {way["name"]: way for way in ways}
    if {"native", "PureSVD"} <= set(named):
        found += _dearer(named["PureSVD"], named["native"])
    return found


def _dearer(ours: dict, native: dict) -> list[str]:
    found = []
    for name in STAGES:
        a, b = ours["seconds"].get(name), native["seconds"].get(name)
        if a and b and a > SLOWER * b and a - b > NOTABLE:
            found.append(f"PureSVD: {name} takes {a:.2f} s, native {b:.2f} s")
        a, b = ours["peaks"].get(name), native["peaks"].get(name)
        if a and b and a > LARGER * b:
            found.append(f"PureSVD: {name} peaks at {a / GIB:.2f} GiB, native at {b / GIB:.2f} GiB")
    return found
