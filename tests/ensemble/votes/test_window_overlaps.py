"""Overlaps found through kept pixel positions, against counting them anew."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cellseg.ensemble.votes import window_overlaps
from cellseg.ensemble.votes.suppression import mask_overlaps
from cellseg.ensemble.votes.window_overlaps import TruthPixels, WindowPairs, touching_masks
from cellseg.metrics import mask_iou, shared_pixels
from cellseg.structures import CropMasks

SIZE = (14, 17)


def random_masks(seed: int, count: int, share: float = 0.6) -> CropMasks:
    """Masks in random windows, some of them empty, that overlap a lot."""
    generator = torch.Generator().manual_seed(seed)
    ends = torch.rand(count, 2, 2, generator=generator) * torch.tensor([SIZE[1] + 0.99, SIZE[0] + 0.99])
    ends = ends.long().sort(dim=1).values
    windows = torch.cat([ends[:, 0], ends[:, 1]], dim=1)
    sides = windows[:, 2:] - windows[:, :2]
    return CropMasks(windows, torch.rand(int(sides.prod(1).sum()), generator=generator) < share, SIZE)


def triples(rows, columns, counts):
    return sorted(zip(rows.tolist(), columns.tolist(), counts.tolist(), strict=True))


@pytest.mark.parametrize("most_kept", [0, 10**6])
@given(seed=st.integers(0, 10**6), total=st.integers(0, 12), count=st.integers(0, 12))
@settings(max_examples=60, deadline=None)
def test_pairs_of_the_first_masks(most_kept, seed, total, count):
    masks = random_masks(seed, total)
    count = min(count, total)
    pairs = WindowPairs(masks.windows, most_kept)
    assert pairs.kept <= most_kept
    first = masks[:count]
    expected = [row for row in triples(*shared_pixels(first, first)) if row[0] < row[1]]
    # Values may be those of the first windows only, or of more.
    for values in (first.values, masks.values):
        assert triples(*pairs.shared(values, count)) == expected


@pytest.mark.parametrize("at_once", [1, 30, 10**6])
@given(seed=st.integers(0, 10**6), count=st.integers(0, 12))
@settings(max_examples=40, deadline=None)
def test_masks_that_touch(at_once, seed, count):
    masks = random_masks(seed, count)
    expected = [row for row in triples(*shared_pixels(masks, masks)) if row[0] < row[1]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(window_overlaps, "_PIXELS_AT_ONCE", at_once)
        assert triples(*touching_masks(masks)) == expected


@given(st.integers(0, 10**6), st.integers(0, 12))
@settings(max_examples=40, deadline=None)
def test_overlaps_of_masks_are_their_iou_both_ways(seed, count):
    masks = random_masks(seed, count)
    dense = torch.zeros((count, count), dtype=torch.float64)
    rows, columns, iou = mask_overlaps(masks)
    dense[rows, columns] = iou
    assert torch.equal(dense, mask_iou(masks, masks).fill_diagonal_(0))


@given(st.integers(0, 10**6), st.integers(0, 8), st.integers(0, 8))
@settings(max_examples=60, deadline=None)
def test_true_cells_under_masks(seed, total, cells):
    windows, truth = random_masks(seed, total), random_masks(seed + 1, cells)
    index = TruthPixels(windows.windows, truth)
    # Some of the masks, in another order, cut to their tight windows.
    places = torch.randperm(total, generator=torch.Generator().manual_seed(seed))[: (total + 1) // 2]
    masks = random_masks(seed, total, share=0.4)[places].tight()
    rows, columns, counts = index.shared(masks, places)
    expected = shared_pixels(masks, truth)
    assert torch.equal(rows, expected[0]) and torch.equal(columns, expected[1]) and torch.equal(counts, expected[2])


@pytest.mark.parametrize("layers", [1, 3])
def test_true_cells_that_lie_on_each_other(layers):
    truth = CropMasks.from_dense(torch.ones((layers, *SIZE), dtype=torch.bool))
    window = torch.tensor([[2, 3, 5, 7]])
    rows, columns, counts = TruthPixels(window, truth).shared(
        CropMasks(window, torch.ones(12, dtype=torch.bool), SIZE), torch.tensor([0])
    )
    assert (
        rows.tolist() == [0] * layers and columns.tolist() == list(range(layers)) and counts.tolist() == [12] * layers
    )
