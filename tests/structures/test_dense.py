"""Label images and overlaps, against loops over pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cellseg.errors import InputError
from cellseg.structures import CropMasks

label_images = arrays(np.int64, array_shapes(min_dims=2, max_dims=2, max_side=10), elements=st.integers(0, 5))


@given(label_images)
@settings(deadline=None, max_examples=300)
def test_label_image_and_back(labels):
    masks = CropMasks.from_label_image(torch.from_numpy(labels))
    numbers = sorted(set(labels.reshape(-1).tolist()) - {0})
    assert len(masks) == len(numbers)
    for mask, number in zip(masks.to_dense().numpy(), numbers, strict=True):
        np.testing.assert_array_equal(mask, labels == number)
    assert torch.equal(masks.windows, masks.tight().windows)
    painted = masks.to_label_image()
    assert painted.dtype == torch.int32
    renamed = {0: 0} | {number: place for place, number in enumerate(numbers, start=1)}
    assert painted.tolist() == [[renamed[number] for number in row] for row in labels.tolist()]


def test_scattered_large_numbers_keep_ascending_order():
    labels = torch.tensor([[70_000, 0, 2**40], [3, 3, 70_000]])
    masks = CropMasks.from_label_image(labels)
    assert masks.to_dense().long().argmax(dim=0).tolist() == [[1, 0, 2], [0, 0, 1]]
    assert masks.areas().tolist() == [2, 2, 1]


def test_more_instances_than_sixteen_bits_hold(device):
    labels = torch.arange(300 * 300, device=device).view(300, 300)
    masks = CropMasks.from_label_image(labels)
    assert len(masks) == 89_999
    assert torch.equal(masks.to_label_image().long(), labels)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.int64])
def test_number_types_of_label_files(kind):
    assert CropMasks.from_label_image(np.array([[0, 2], [1, 2]], kind)).to_rle() == ["3 1", "2 1 4 1"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([[0, -3]]), "label image: expected numbers of at least 0, got -3"),
        (torch.tensor([[0.0, 1.0]]), "label image: expected whole numbers, got torch.float32"),
        (torch.tensor([[False, True]]), "label image: expected whole numbers, got torch.bool"),
        (torch.tensor([0, 1]), "label image: expected shape [H, W], got [2]"),
    ],
)
def test_wrong_label_images(labels, message):
    with pytest.raises(InputError) as caught:
        CropMasks.from_label_image(labels)
    assert str(caught.value) == message


@given(st.integers(0, 2**31), st.integers(0, 4), st.floats(0, 0.6))
@settings(deadline=None, max_examples=200)
def test_overlaps_are_found_and_named(seed, count, share):
    dense = np.random.default_rng(seed).random((count, 5, 6)) < share
    masks = CropMasks.from_dense(torch.from_numpy(dense))
    shared = [place for place in range(30) if dense.reshape(count, 30)[:, place].sum() > 1]
    assert masks.overlaps() == bool(shared)
    if shared:
        first, second = np.flatnonzero(dense.reshape(count, 30)[:, shared[0]])[:2]
        with pytest.raises(ValueError) as caught:
            masks.to_label_image()
        assert str(caught.value) == f"masks {first} and {second} overlap: a label image has one instance per pixel"
    else:
        masks.to_label_image()


def test_overlap_of_specks_in_an_image_beyond_any_memory(device):
    size = (2**31 - 1, 2**31 - 1)
    apart = CropMasks.from_rle(["1 2", f"{2**61} 1", f"{2**60} 3"], size).to(device)
    assert not apart.overlaps()
    assert CropMasks.cat([apart, CropMasks.from_rle([f"{2**60 + 2} 5"], size).to(device)]).overlaps()


def test_dense_masks_that_are_no_solid_block():
    dense = (torch.rand(7, 12, 10, generator=torch.Generator().manual_seed(3)) < 0.3).permute(2, 0, 1)
    assert torch.equal(CropMasks.from_dense(dense).to_dense(), dense)
