"""Sweeps and sheets: the values of a range, and where every clip and frame stands on the page."""

import math

import pytest
import torch

from svd_core.quality import sheet, sweep
from svd_core.quality.sheet import GAP


def solid(value, t=3, H=24, W=40, channels=3):
    """A clip of one colour that brightens by 0.01 a frame"""
    return torch.stack([torch.full((H, W, channels), value + 0.01 * k) for k in range(t)])


def test_even_values_reach_both_ends():
    assert sweep.spread(1, 255, 3) == [1, 128, 255]
    assert sweep.spread(3, 1, 5) == [3, 2.5, 2, 1.5, 1]
    assert sweep.spread(7, 9, 1) == [7]


def test_even_ratios_multiply_by_the_same_factor():
    assert sweep.spread(1, 100, 3, spacing="even ratios") == pytest.approx([1, 10, 100])
    assert sweep.spread(-8, -1, 4, spacing="even ratios") == pytest.approx([-8, -4, -2, -1])


def test_ends_are_exact():
    for spacing in sweep.SPACINGS:
        found = sweep.spread(0.1, 0.7, 9, spacing=spacing)
        assert (found[0], found[-1]) == (0.1, 0.7)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ((math.nan, 1, 2), "from nan to 1; use finite"),
        ((0, 1, 2), "cannot lead from 0 to 1; use two numbers above 0"),
        ((-1, 1, 2), "cannot lead from -1 to 1"),
        ((1, 2, 0), "0 values was asked for; use 1 to 64"),
    ],
)
def test_a_range_that_cannot_be_gets_a_sentence(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        sweep.spread(*given, spacing="even ratios")


def test_own_values_are_read_as_people_write_them():
    assert sweep.listed(" 1, 64;127  255,") == [1, 64, 127, 255]
    for text in ("1, x", "nan", "1,,inf", "1e999"):
        with pytest.raises(ValueError, match="is not a number; write values such as"):
            sweep.listed(text)
    with pytest.raises(ValueError, match="65 values are listed; write at most 64"):
        sweep.listed("1 " * 65)


def test_labels_say_name_and_value():
    assert sweep.label("max_cfg", 2.5) == "max_cfg 2.5"
    assert sweep.label("motion_bucket_id", 127.0) == "motion_bucket_id 127"
    assert sweep.label(" ", 0.1 + 0.2) == "0.3"


def cell(page, row, column, *, width, height, line):
    top, left = GAP + row * (height + line + GAP), GAP + column * (width + GAP)
    return page[top : top + height, left : left + width]


def heights(width):
    return sheet.line_height(sheet.font(max(11, min(28, width // 14))))


def test_a_still_has_a_row_for_each_clip_and_time_to_the_right():
    clips = [solid(0.2, t=7), solid(0.6, t=3)]
    page = sheet.sheet(clips, ["a", "b"], frames=3, width=40)
    assert page.shape[0] == 1
    where = dict(width=40, height=24, line=heights(40))
    for row, (first, t) in enumerate(((0.2, 7), (0.6, 3))):
        for column, at in enumerate((0, (t - 1) // 2, t - 1)):
            found = cell(page[0], row, column, **where)
            assert torch.allclose(found, torch.full_like(found, first + 0.01 * at), atol=1e-6)


def test_single_pictures_stand_in_a_square():
    clips = [solid(0.1 * k, t=1) for k in range(1, 5)]
    page = sheet.sheet(clips, list("abcd"), frames=4, width=40)
    where = dict(width=40, height=24, line=heights(40))
    for k in range(4):
        found = cell(page[0], *divmod(k, 2), **where)
        assert torch.allclose(found, torch.full_like(found, 0.1 * (k + 1)), atol=1e-6)


def test_all_clips_play_at_once_and_a_short_one_waits():
    clips = [solid(0.2, t=4), solid(0.6, t=2)]
    pages = sheet.playing(clips, ["a", "b"], width=40)
    assert len(pages) == 4
    where = dict(width=40, height=24, line=heights(40))
    for t, page in enumerate(pages):
        for column, value in enumerate((0.2 + 0.01 * t, 0.6 + 0.01 * min(t, 1))):
            found = cell(page, 0, column, **where)
            assert torch.allclose(found, torch.full_like(found, value), atol=1e-6)


def test_labels_are_written_below_their_clip_and_nowhere_else():
    bare, named = (
        sheet.sheet([solid(0.2)] * 2, labels, frames=1, width=40)[0] for labels in (["", ""], ["", "x"])
    )
    differs = (bare != named).any(-1)
    rows, columns = (differs.any(axis).nonzero() for axis in (1, 0))
    assert int(rows.min()) >= GAP + 24
    assert int(columns.min()) >= GAP + 40 + GAP


def test_a_clip_of_another_shape_keeps_its_own():
    page = sheet.sheet([solid(0.9), solid(0.9, H=40, W=40)], ["", ""], frames=1, width=40)[0]
    second = cell(page, 0, 1, width=40, height=24, line=heights(40))
    bright = (second[..., 0] > 0.5).any(0).nonzero().flatten()
    assert (int(bright[0]), int(bright[-1])) == (8, 31)  # 24 wide, in the middle


def test_a_tower_does_not_make_the_page_endless():
    assert sheet.cell_size([torch.zeros(1, 8000, 2, 3)], [""], 16) == (16, 16 * sheet.TALLEST)
    assert sheet.sheet([torch.zeros(1, 8000, 2, 3)], [""], width=16).shape[1] < 200


def test_grey_and_alpha_are_shown_in_colour():
    page = sheet.sheet([solid(0.5, channels=1), solid(0.5, channels=4)], ["", ""], frames=1, width=40)[0]
    for column in (0, 1):
        found = cell(page, 0, column, width=40, height=24, line=heights(40))
        assert torch.allclose(found, torch.full_like(found, 0.5))


def test_a_long_label_ends_in_dots():
    font = sheet.font(11)
    words = sheet.shortened("a very long label that does not fit", font, 60)
    assert words.endswith("...")
    assert font.getlength(words) <= 60
    assert sheet.shortened("one\n two", font, 60) == "one two"


def test_labels_that_are_not_one_for_each_clip_get_a_sentence():
    with pytest.raises(ValueError, match="1 labels for 2 clips; wire in"):
        sheet.sheet([solid(0.1)] * 2, ["a"])
    with pytest.raises(ValueError, match="no clip came in; wire in"):
        sheet.sheet([], [])


def test_a_page_that_would_fill_the_memory_gets_a_sentence():
    with pytest.raises(ValueError, match="use a smaller width, or fewer clips"):
        sheet.playing([torch.zeros(1, 10, 10, 3)] * 64, [""] * 64, width=2048)
