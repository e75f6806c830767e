import numpy as np
import pytest
import torch

from cellseg.datasets.repair import RepairCounts, find_defects, repair
from cellseg.errors import InputError
from cellseg.structures import CropMasks


def masks_of(*pictures: str) -> CropMasks:
    """Masks drawn as lines of # and dots."""
    return CropMasks.from_dense(torch.from_numpy(np.stack([drawn(picture) for picture in pictures])))


def drawn(picture: str) -> np.ndarray:
    return np.array([[sign == "#" for sign in line.strip()] for line in picture.strip().splitlines()])


RING = """
.......
.#####.
.#...#.
.#...#.
.#####.
.......
"""
FULL_RING = RING.replace("#...#", "#####")
INNER = """
.......
.......
...#...
.......
.......
.......
"""
PARTS = """
##.....
##.....
##.....
.......
....##.
....##.
"""
LARGEST = """
##.....
##.....
##.....
.......
.......
.......
"""
SLIT = """
.......
###.###
###.###
###.###
.......
.......
"""
CORNER = """
##.....
##.....
..##...
..##...
.......
.......
"""


def test_defects():
    holes, parts = find_defects(masks_of(RING, FULL_RING, PARTS, CORNER))
    assert holes.tolist() == [True, False, False, False]
    assert parts.tolist() == [False, False, True, False]


def test_background_enclosed_only_by_the_image_edge_is_no_hole():
    corner = "#####\n#...#\n#...#"
    assert find_defects(masks_of(corner))[0].tolist() == [False]


def test_none_changes_nothing():
    masks = masks_of(RING, PARTS)
    same, counts = repair(masks, "none")
    assert same is masks
    assert counts == RepairCounts()


def test_fill():
    mended, counts = repair(masks_of(RING, PARTS), "fill")
    assert mended.to_dense().equal(masks_of(FULL_RING, PARTS).to_dense())
    assert counts == RepairCounts(filled=1, pixels_added=6)


def test_largest():
    mended, counts = repair(masks_of(RING, PARTS), "largest")
    assert mended.to_dense().equal(masks_of(FULL_RING, LARGEST).to_dense())
    assert counts == RepairCounts(filled=1, reduced=1, pixels_added=6, pixels_removed=4)


def test_bridge_joins_near_parts_and_adds_only_between_them():
    mended, counts = repair(masks_of(SLIT), "bridge")
    dense = mended.to_dense()[0].numpy()
    assert find_defects(mended)[1].tolist() == [False]
    added = dense & ~drawn(SLIT)
    assert added.any()
    assert set(np.nonzero(added)[1]) == {3}, "only the slit's column"
    assert counts.bridged == 1
    assert counts.reduced == 0
    assert counts.pixels_added == added.sum()


def test_parts_too_far_for_a_bridge_are_reduced():
    dense = torch.zeros((1, 40, 40), dtype=torch.bool)
    dense[0, 2:8, 2:8] = True
    dense[0, 30:34, 30:34] = True
    mended, counts = repair(CropMasks.from_dense(dense), "bridge")
    assert mended.areas().tolist() == [36]
    assert (counts.bridged, counts.reduced, counts.pixels_removed) == (0, 1, 16)


def test_pixels_of_other_masks_are_never_taken():
    # The hole holds another cell; only the hole around it is filled.
    mended, counts = repair(masks_of(RING, INNER), "fill")
    assert mended.areas().tolist() == [19, 1]
    assert not mended.overlaps()
    assert counts == RepairCounts(filled=1, pixels_added=5)


@pytest.mark.parametrize("mode", ["fill", "largest", "bridge"])
def test_separate_masks_stay_separate(mode):
    rng = np.random.default_rng(3)
    for _ in range(20):
        labels = torch.from_numpy(rng.integers(0, 5, (12, 12)))
        mended, _ = repair(CropMasks.from_label_image(labels), mode)
        assert not mended.overlaps()
        if mode != "fill":
            assert not find_defects(mended)[1].any()


def test_unknown_mode():
    with pytest.raises(InputError, match="repair 'convex' is not one of none, fill, largest, bridge"):
        repair(masks_of(RING), "convex")
