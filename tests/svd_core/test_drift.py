"""The report of a long video: lines, warnings once each, JSON, and a chart."""

import json
from dataclasses import replace

import pytest
import torch

from svd_core.control.long import Drift
from svd_core.quality import drift
from svd_core.quality.look import look

FIRST = look(torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)))
CALM = Drift([1.0] * 4, [0.0] * 4, False, 0.1, 1.0, 1.0, 1.0)


def course(*rows):
    return drift.Course(FIRST, list(rows), 27, 7.0)


def row(number=1, likeness=0.9, speed=0.04, end=None, look=None, **changes):
    """`look`: factors on what the last frame looks like."""
    seen = replace(FIRST, **{name: getattr(FIRST, name) * v for name, v in (look or {}).items()})
    return drift.Row(number, replace(CALM, **changes), seen, likeness, speed, 0, end)


def test_steady_video_has_no_warning_and_a_line_a_chunk():
    text = course(row(1), row(2)).text()
    assert "chunk 2: luma 100 %, contrast 100 %, saturation 100 %, sharpness 100 % of the first" in text
    told = json.loads(text.splitlines()[-1])
    assert told["warnings"] == []
    assert [entry["chunk"] for entry in told["chunks"]] == [1, 2]
    assert told["chunks"][0]["luma"] == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"look": {"brightness": 1.3}}, "chunk 2: luma is 130 % of the first frame's; raise anchor"),
        ({"look": {"contrast": 0.7}}, "chunk 2: contrast is 70 %"),
        ({"look": {"saturation": 1.5}}, "chunk 2: saturation is 150 %"),
        ({"look": {"detail": 0.5}}, "chunk 2: has become blurred; lower next_augmentation"),
        ({"likeness": 0.7}, "chunk 2: shows something else than the photo; set token to photo"),
        ({"motion": 0.01}, "chunk 2: hardly moves any more; raise motion_bucket_id"),
        (
            {"clamped": True, "look": {"contrast": 0.9}},
            "chunk 2: colours drift faster than they are corrected; raise anchor",
        ),
    ],
)
def test_warnings_come_once_and_name_their_first_chunk(changes, sentence):
    first = row(1, clamped=changes.get("clamped", False))
    found = course(first, row(2, **changes), row(3, **changes)).warnings()
    assert len(found) == 1
    assert found[0].startswith(sentence)


def test_drift_that_cannot_be_seen_is_no_reason_to_warn():
    """The anchor works on latents, and may leave there what no frame shows."""
    rows = [row(k, clamped=True, look={"contrast": 0.96, "saturation": 1.04}) for k in (1, 2, 3)]
    assert course(*rows).warnings() == []


def test_chart_shows_every_chunk_and_needs_none():
    small, large = (course(*(row(k + 1) for k in range(count))).chart() for count in (1, 40))
    assert small.size == large.size
    assert small.tobytes() != large.tobytes()
    assert course().chart().size[0] == small.size[0]


def test_what_is_not_a_number_is_left_out():
    told = course(row(1, speed=None, likeness=None, position=None), row(2, motion=float("nan"))).text()
    found = json.loads(told.splitlines()[-1], parse_constant=lambda name: pytest.fail(name))
    assert found["chunks"][1]["motion"] is None
    assert "motion unclear" in told


def test_end_of_a_closing_chunk_is_told():
    end = {"first_error": None, "last_error": 0.031, "end_jump": 1.0}
    assert "end 3.10 % off its picture" in course(row(1, end=end)).text()
