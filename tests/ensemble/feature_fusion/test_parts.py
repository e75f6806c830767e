"""Images dealt out for cross-fitting: groups stay whole, twins stay together, parts are even."""

import random

import pytest

from cellseg.ensemble.feature_fusion.parts import assign_parts
from cellseg.errors import InputError


def test_groups_stay_whole_and_parts_are_even():
    rng = random.Random(0)
    groups = [f"g{rng.randrange(20)}" for _ in range(120)]
    sizes = [rng.randrange(60) for _ in groups]
    found = assign_parts(groups, [str(k) for k in range(120)], sizes, 3, "here")
    assert set(found) == {0, 1, 2}
    assert all(len({part for part, own in zip(found, groups, strict=True) if own == group}) == 1 for group in groups)
    loads = [sum(size for size, part in zip(sizes, found, strict=True) if part == chosen) for chosen in range(3)]
    assert max(loads) < 1.2 * min(loads)


def test_groups_that_share_an_image_count_as_one():
    groups, keys = ["a", "a", "b", "b", "c", "d"], ["1", "2", "2", "3", "3", "4"]
    found = assign_parts(groups, keys, [5, 5, 5, 5, 5, 5], 2, "here")
    assert len(set(found[:5])) == 1 and found[5] != found[0]
    with pytest.raises(InputError, match=r"has images of 2 group\(s\), too few for parts = 3; set parts=2"):
        assign_parts(groups, keys, [5] * 6, 3, "here")


def test_images_without_boxes_are_dealt_out_too():
    assert sorted(assign_parts(["a", "b", "c"], ["1", "2", "3"], [0, 0, 0], 3, "here")) == [0, 1, 2]


@pytest.mark.parametrize(
    "parts, message",
    [
        (1, "parts = 1: expected a whole number, 2 or more"),
        (2.0, "parts = 2.0: expected a whole number, 2 or more"),
        (3, r"data: split 'val': has images of 1 group\(s\), too few for parts = 3; prepare the data with more groups"),
    ],
)
def test_parts_that_cannot_be_made(parts, message):
    with pytest.raises(InputError, match=message):
        assign_parts(["a", "a"], ["1", "2"], [3, 4], parts, "data: split 'val'")
