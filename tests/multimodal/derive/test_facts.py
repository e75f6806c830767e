"""Facts of images: counts, union of overlaps, shapes, what touches."""

import json

import numpy as np
import pytest
import torch
from skimage.measure import regionprops

from cellseg.errors import InputError
from cellseg.multimodal.derive.facts import (
    ImageFacts,
    SizeLimits,
    find_touching,
    known_types,
    make_instances,
    measure_facts,
    size_limits,
)
from cellseg.structures import CropMasks

SIZE = (40, 60)


def instances_of(masks, labels=None, class_names=("a", "b")):
    dense = torch.from_numpy(np.stack(masks)) if masks else torch.zeros((0, *SIZE), dtype=torch.bool)
    labels = None if labels is None else torch.tensor(labels)
    return make_instances(CropMasks.from_dense(dense), labels, class_names)


def rectangle(x0, y0, x1, y1):
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def random_masks(seed):
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(rng.integers(1, 9)):
        x, y = rng.integers(0, 50), rng.integers(0, 32)
        masks.append(rectangle(x, y, x + rng.integers(1, 10), y + rng.integers(1, 8)))
    return masks


def test_a_drawn_image():
    masks = [rectangle(0, 0, 10, 10), rectangle(5, 5, 15, 15), rectangle(30, 20, 54, 24), rectangle(20, 0, 24, 4)]
    facts = measure_facts("k", instances_of(masks, [1, 1, 0, 1]), SizeLimits(50, 98))
    assert (facts.key, facts.height, facts.width, facts.count) == ("k", 40, 60, 4)
    assert facts.type_counts == {"a": 1, "b": 3} and facts.dominant_type == "b"
    assert facts.covered_px == 100 + 100 - 25 + 96 + 16
    assert facts.confluence == facts.covered_px / 2400
    assert facts.areas["p50"] == 98.0 and facts.areas["p25"] == np.percentile([100, 100, 96, 16], 25)
    assert facts.elongated == 0.25  # the bar of 24 x 4
    assert facts.touching == 0.5  # the two that overlap
    assert (facts.small, facts.large) == (0.25, 0.5)


def test_shapes_are_those_of_regionprops():
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    mask = ((x - 30) / 25) ** 2 + ((y - 20) / 10) ** 2 < 1
    facts = measure_facts("k", instances_of([mask]))
    (region,) = regionprops(mask.astype(np.uint8))
    assert facts.eccentricity == pytest.approx(region.eccentricity, abs=1e-3)
    assert facts.roundness == pytest.approx(4 * np.pi * region.area / region.perimeter_crofton**2, abs=1e-5)
    assert facts.elongated == 1.0 and facts.small is facts.large is None


def test_roundness_is_at_most_one():
    assert measure_facts("k", instances_of([rectangle(3, 3, 4, 4)])).roundness <= 1


@pytest.mark.parametrize("seed", range(12))
def test_union_and_touching_as_pixel_by_pixel(seed):
    masks = random_masks(seed)
    expected = []
    for index, mask in enumerate(masks):
        reach = np.zeros(SIZE, bool)
        for y, x in np.argwhere(mask):
            reach[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = True
        expected.append(any((reach & other).any() for place, other in enumerate(masks) if place != index))
    crops = CropMasks.from_dense(torch.from_numpy(np.stack(masks)))
    assert find_touching(crops).tolist() == expected
    facts = measure_facts("k", instances_of(masks))
    assert facts.covered_px == np.logical_or.reduce(masks).sum()
    assert facts.touching == pytest.approx(np.mean(expected), abs=1e-6)


def test_cells_across_a_corner_touch_and_across_a_gap_do_not():
    corner = CropMasks.from_dense(torch.from_numpy(np.stack([rectangle(0, 0, 5, 5), rectangle(5, 5, 9, 9)])))
    gap = CropMasks.from_dense(torch.from_numpy(np.stack([rectangle(0, 0, 5, 5), rectangle(6, 0, 9, 9)])))
    assert find_touching(corner).tolist() == [True, True] and find_touching(gap).tolist() == [False, False]


def test_an_image_without_cells():
    facts = measure_facts("k", instances_of([]), SizeLimits(1, 2))
    assert facts == ImageFacts("k", 40, 60, 0, {"a": 0, "b": 0}, 0, {})
    assert facts.dominant_type is None and facts.confluence == 0


def test_a_mask_without_pixels_is_no_cell():
    masks = [rectangle(0, 0, 4, 4), np.zeros(SIZE, bool)]
    facts = measure_facts("k", instances_of(masks, [0, 1]))
    assert facts == measure_facts("k", instances_of(masks[:1], [0]))


@pytest.mark.parametrize(
    "counts, expected",
    [
        ({}, None),
        ({"a": 0}, None),
        ({"a": 2, "b": 2}, None),
        # More than any other, but not most.
        ({"a": 1, "b": 2, "c": 1}, None),
        ({"a": 1, "b": 3, "c": 1}, "b"),
        ({"a": 3}, "a"),
    ],
)
def test_the_type_of_most_cells(counts, expected):
    assert ImageFacts("k", 1, 1, sum(counts.values()), counts, 0, {}).dominant_type == expected


@pytest.mark.parametrize(
    "names, expected",
    [((), ()), (("cell",), ()), (("unlabelled",), ()), (("astro",), ("astro",)), (("cell", "dot"), ("cell", "dot"))],
)
def test_types_that_say_something(names, expected):
    assert known_types(names) == expected
    facts = measure_facts("k", instances_of([rectangle(0, 0, 4, 4)], [0], names or ("cell",)))
    assert tuple(facts.type_counts) == expected


def test_limits_part_cells_into_thirds():
    areas = np.arange(1, 301)
    limits = size_limits(areas)
    assert (areas < limits.small).sum() == 100 and (areas > limits.large).sum() == 100
    assert size_limits([]) is None


def test_facts_survive_json():
    facts = measure_facts("k", instances_of(random_masks(3)), SizeLimits(10, 20))
    assert ImageFacts.from_dict(json.loads(json.dumps(facts.to_dict())), "f") == facts


@pytest.mark.parametrize(
    "change",
    [
        {"count": -1},
        {"count": 1.5},
        {"height": 0},
        {"key": 3},
        {"covered_px": 10**9},
        {"touching": 2},
        {"small": "few"},
        {"type_counts": None},
        {"areas": None},
    ],
)
def test_damaged_facts_are_refused(change):
    values = measure_facts("k", instances_of([rectangle(0, 0, 4, 4)])).to_dict()
    ImageFacts.from_dict(values, "f")
    with pytest.raises(
        InputError, match=r"facts.json: images\[2\]: damaged facts .*; run derive_text.py dataset again"
    ):
        ImageFacts.from_dict({**values, **change}, "facts.json: images[2]")
    del values["roundness"]
    with pytest.raises(InputError, match="damaged facts"):
        ImageFacts.from_dict(values, "f")
