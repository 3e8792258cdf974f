"""Ids come from content: the same item has the same id, and any difference gives another."""

import itertools
import os

import pytest

from clients import items


def write(folder, **photos):
    for name, data in photos.items():
        (folder / f"{name}.png").write_bytes(data)
    return [folder / f"{name}.png" for name in photos]


def ids(found):
    return [item.id for item in found]


def test_id_depends_on_content_and_not_on_name_or_place(tmp_path):
    (here,) = write(tmp_path, cat=b"the same")
    (tmp_path / "more").mkdir()
    (there,) = write(tmp_path / "more", dog=b"the same")
    plans = [items.plan([path], [{"steps": 2}], [1], {"checkpoint": "c"}) for path in (here, there)]
    assert ids(plans[0]) == ids(plans[1])
    assert [plan[0].name.rpartition("-")[0] for plan in plans] == ["cat", "dog"]


def test_every_difference_gives_another_id(tmp_path):
    photos = write(tmp_path, a=b"a", b=b"b")
    several = [{"steps": 2}, {"steps": 3}], [1, 2], [{"checkpoint": "c"}, {"checkpoint": "d"}]
    found = [
        one
        for photo, setting, seed, maker in itertools.product(photos, *several)
        for one in ids(items.plan([photo], [setting], [seed], maker))
    ]
    assert len(set(found)) == 16


def test_photo_that_is_there_twice_is_made_once(tmp_path):
    photos = write(tmp_path, a=b"same", b=b"same", c=b"other")
    plan = items.plan(photos, [{}], [0, 1], {})
    assert [(item.photo.stem, item.seed) for item in plan] == [("a", 0), ("a", 1), ("c", 0), ("c", 1)]


def test_several_values_of_a_name_are_combined():
    assert items.choices([]) == [{}]
    assert items.choices(["steps=2", "fps=7", "steps=3"]) == [
        {"steps": "2", "fps": "7"},
        {"steps": "3", "fps": "7"},
    ]
    with pytest.raises(ValueError, match="'steps' sets nothing; write it as NAME=VALUE"):
        items.choices(["steps"])


def test_photos_are_found_in_a_folder_in_order(tmp_path):
    for name in ("b.JPG", "a.webp", "c.png", ".hidden.png", "notes.txt", "drawing.svg"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in items.photos([tmp_path])] == ["a.webp", "b.JPG", "c.png"]


@pytest.mark.parametrize(
    ("given", "sentence"), [("", "holds no photo; choose a folder"), ("gone", "is not there; give photos")]
)
def test_nothing_to_work_on_is_said(tmp_path, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        items.photos([tmp_path / given])


def test_photo_that_changed_meanwhile_is_refused(tmp_path):
    (path,) = write(tmp_path, a=b"first")
    (item,) = items.plan([path], [{}], [0], {})
    assert item.read() == b"first"
    path.write_bytes(b"second")
    with pytest.raises(ValueError, match="has changed since the batch began; start again"):
        item.read()
    os.unlink(path)
    with pytest.raises(ValueError, match="cannot be read"):
        item.read()


def test_folder_has_a_digest_of_names_and_contents(tmp_path):
    before = items.digest(tmp_path)
    write(tmp_path, a=b"x")
    one = items.digest(tmp_path)
    (tmp_path / "a.png").rename(tmp_path / "b.png")
    assert len({before, one, items.digest(tmp_path)}) == 3
