"""Cleaning against one mask after another with scipy's labels."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from cellseg.ensemble import claim_pixels, clean
from cellseg.errors import InputError
from cellseg.structures import CropMasks


def draw(*pictures: str) -> CropMasks:
    """Masks from pictures with # for their pixels."""
    return CropMasks.from_dense(
        torch.tensor([[[c == "#" for c in row] for row in picture.split()] for picture in pictures])
    )


def reference(dense, fill, largest):
    """Largest parts of all, then the holes: a hole pixel that several want goes to the smallest."""
    parts = []
    for mask, wanted in zip(dense, largest, strict=True):
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        if wanted and count > 1:
            sizes = ndimage.sum_labels(mask, labels, range(1, count + 1))
            mask = labels == 1 + int(np.argmax(sizes))
        parts.append(mask)
    taken = np.any(parts, axis=0)
    filled = [ndimage.binary_fill_holes(mask) if wanted else mask for mask, wanted in zip(parts, fill, strict=True)]
    result = [mask.copy() for mask in parts]
    for y, x in np.argwhere(np.any(filled, axis=0) & ~taken):
        askers = [i for i, mask in enumerate(filled) if mask[y, x]]
        result[min(askers, key=lambda i: (filled[i].sum(), i))][y, x] = True
    return np.stack(result)


@pytest.mark.parametrize("fill, largest", [(True, True), (True, False), (False, True), (False, False), ("mix", "mix")])
@pytest.mark.parametrize("seed", range(10))
def test_random_masks(seed, fill, largest):
    generator = torch.Generator().manual_seed(seed)
    count, height, width = 6, 14, 18
    # Rough votes in random windows: full of holes, parts and rings around each other.
    x0 = torch.randint(0, 10, (count, 2), generator=generator)
    x1 = x0 + torch.randint(0, 9, (count, 2), generator=generator)
    windows = torch.cat([x0, torch.minimum(x1, torch.tensor([width, height]))], 1)
    windows[:, 2:] = torch.maximum(windows[:, 2:], windows[:, :2])
    areas = (windows[:, 2] - windows[:, 0]) * (windows[:, 3] - windows[:, 1])
    votes = CropMasks(windows, torch.rand(int(areas.sum()), generator=generator), (height, width))
    masks = claim_pixels(votes, torch.rand(count, generator=generator), 0.45)
    fill, largest = (
        torch.rand(count, generator=generator) < 0.5 if choice == "mix" else choice for choice in (fill, largest)
    )
    cleaned = clean(masks, fill, largest)
    assert torch.equal(cleaned.windows, masks.windows)
    expected = reference(
        masks.to_dense().numpy(), np.broadcast_to(np.asarray(fill), count), np.broadcast_to(np.asarray(largest), count)
    )
    assert (cleaned.to_dense().numpy() == expected).all()
    assert not cleaned.overlaps()


def test_a_hole_with_another_cell_is_filled_around_it():
    ring, cell = "##### #...# #...# #...# #####", "..... ..... ..#.. ..... ....."
    cleaned = clean(draw(ring, cell)).to_dense()
    assert cleaned[0].sum() == 24 and cleaned[1].sum() == 1


def test_a_hole_in_two_rings_goes_to_the_inner_one():
    outer = "####### #.....# #.....# #.....# #.....# #.....# #######"
    inner = "....... .#####. .#...#. .#...#. .#...#. .#####. ......."
    cleaned = clean(draw(outer, inner)).to_dense()
    assert cleaned[0].sum() == 24 and cleaned[1].sum() == 25


def test_what_leaves_one_mask_may_fill_another():
    ring, cell = "##### #...# #...# #...# ##### ..... ..... .....", "..... ..... ..#.. ..... ..... ..... .###. ....."
    cleaned = clean(draw(ring, cell)).to_dense()
    assert cleaned[0].sum() == 25 and cleaned[1].sum() == 3


def test_corners_connect_masks_but_do_not_close_holes_open():
    # Diagonal neighbours are one part, and a ring of diagonals encloses its hole.
    cleaned = clean(draw(".#. #.# .#.")).to_dense()
    assert cleaned[0].int().tolist() == [[0, 1, 0], [1, 1, 1], [0, 1, 0]]


def test_of_equal_parts_the_upper_left_stays():
    assert clean(
        draw(
            "....# #...#",
        )
    ).to_dense()[0].int().tolist() == [[0, 0, 0, 0, 1], [0, 0, 0, 0, 1]]
    assert clean(draw("..#.. #...#")).to_dense()[0].int().tolist() == [[0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]


def test_many_sizes_side_by_side():
    # Wide, high and empty crops on the common sheet must not touch each other.
    dense = torch.zeros(60, 50, 70, dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    for i in range(60):
        y, x = (int(torch.randint(0, limit, (1,), generator=generator)) for limit in (45, 60))
        h, w = (int(torch.randint(0, limit, (1,), generator=generator)) for limit in (40, 50))
        dense[i, y : y + h, x : x + w] = True
    for i in range(60):
        assert torch.equal(
            clean(CropMasks.from_dense(dense)[i : i + 1]).values, CropMasks.from_dense(dense[i, None]).values
        )
    assert torch.equal(clean(CropMasks.from_dense(dense), fill_holes=False).to_dense(), dense)


def test_no_masks():
    assert len(clean(CropMasks.empty((5, 5)))) == 0


def test_bad_choice():
    with pytest.raises(InputError, match=r"expected True, False or bool \[1\], found bool \[2\]"):
        clean(draw("##"), fill_holes=torch.tensor([True, False]))
