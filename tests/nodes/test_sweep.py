"""A sweep in the host: lists that make what follows run once a value, and the sheet that gathers them."""

import pytest

torch = pytest.importorskip("torch")
RANGE = dict(
    name="bucket", first=1.0, last=255.0, count=3, spacing="even", whole_numbers=False, own_values=""
)
SHEET = dict(width=[40], columns=[0], frames=[2])


def clips(*values):
    return [torch.full((2, 24, 40, 3), value) for value in values]


def test_values_rounded_values_and_labels_go_together(host):
    values, whole, labels = host.run("PureSVDSweep", **RANGE | {"first": 1.4, "count": 2})
    assert values == [1.4, 255.0]
    assert whole == [1, 255]
    assert labels == ["bucket 1.4", "bucket 255"]


def test_whole_numbers_are_what_the_labels_say(host):
    values, whole, labels = host.run("PureSVDSweep", **RANGE | {"first": 1.4, "whole_numbers": True})
    assert values == whole == [1, 128, 255]
    assert labels == ["bucket 1", "bucket 128", "bucket 255"]


def test_own_values_take_the_place_of_the_range(host):
    values, *_ = host.run("PureSVDSweep", **RANGE | {"own_values": "2.5, 1", "count": 64})
    assert values == [2.5, 1]


def test_the_host_treats_both_ends_as_lists(host):
    assert host.node("PureSVDSweep").GET_NODE_INFO_V1()["output_is_list"] == [True, True, True]
    assert host.node("PureSVDContactSheet").INPUT_IS_LIST
    assert host.node("PureSVDContactSheet").GET_NODE_INFO_V1()["output_is_list"] == [False, False]


def test_a_sheet_shows_every_clip_and_number(host):
    plain = host.run("PureSVDContactSheet", images=clips(0.2, 0.4, 0.6), **SHEET)
    still, moving = host.run(
        "PureSVDContactSheet",
        images=clips(0.2, 0.4, 0.6),
        labels=["a", "b", "c"],
        numbers=[0.1, 2.0, 3.0],
        **SHEET,
    )
    assert still.shape[0] == 1
    assert moving.shape[0] == 2
    assert still.shape == plain[0].shape
    assert not torch.equal(still, plain[0])
    for value in (0.2, 0.4, 0.6):
        assert int((moving[0] == value).all(-1).sum()) >= 24 * 40


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (dict(labels=["a"]), "1 labels for 2 clips; wire in"),
        (dict(numbers=[1.0]), "1 numbers for 2 clips; wire in one for each"),
        (dict(images=[]), "no clip came in"),
        (dict(images=[torch.zeros(0, 8, 8, 3)]), "the image has shape"),
    ],
)
def test_lists_that_do_not_fit_get_a_sentence(host, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        host.run("PureSVDContactSheet", **{"images": clips(0.2, 0.4), **SHEET, **given})
