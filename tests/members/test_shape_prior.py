"""The mean shape of a cell type against plain sums."""

import numpy as np
import pytest
import torch

from cellseg.datasets.records import ImageRecord
from cellseg.errors import InputError
from cellseg.members.shape_prior import learn_shape_prior
from cellseg.structures import CropMasks


def record(masks, labels):
    masks = np.stack(masks)
    return ImageRecord(
        key="a",
        file_name="a.png",
        height=masks.shape[1],
        width=masks.shape[2],
        cell_type="x",
        group="g",
        masks=CropMasks.from_dense(torch.from_numpy(masks)),
        labels=torch.tensor(labels),
    )


def plain_prior(crop, size):
    """Part of each grid cell that is covered, by dividing every pixel into size x size points."""
    height, width = crop.shape
    fine = np.kron(crop, np.ones((size, size)))
    return fine.reshape(size, height, size, width).mean(axis=(1, 3))


def test_one_mask_is_stretched_by_area():
    generator = np.random.default_rng(0)
    mask = np.zeros((30, 40), bool)
    crop = generator.random((11, 7)) < 0.6
    crop[0, 0] = crop[-1, -1] = True
    mask[5:16, 20:27] = crop
    prior = learn_shape_prior([record([mask], [0])], 1, size=4)
    np.testing.assert_allclose(prior[0].numpy(), plain_prior(crop, 4), atol=1e-6)
    # Area is kept: a prior of one mask has its mean.
    assert prior.mean().item() == pytest.approx(crop.mean(), abs=1e-6)


def test_large_masks_and_grids_of_their_own_size():
    mask = np.zeros((40, 40), bool)
    mask[4:36, 4:36] = np.eye(32, dtype=bool)
    prior = learn_shape_prior([record([mask], [0])], 1)
    np.testing.assert_allclose(prior[0].numpy(), np.eye(32), atol=1e-6)


def test_mean_of_each_type_over_images():
    masks = np.zeros((4, 20, 20), bool)
    masks[0, 2:6, 2:6] = True
    masks[1, 2:6, 2:8] = True
    masks[1, 2:6, 2:5] = [[False, True, True]] * 4
    masks[1, 3, 2] = True
    masks[2, 10:18, 10:14] = True
    records = [record(masks[:2], [0, 1]), record(masks[2:3], [0]), record(masks[3:], [0])]
    prior = learn_shape_prior(records, 3, size=8)
    assert prior.shape == (3, 8, 8) and prior.dtype == torch.float32
    assert (prior[0] == 1).all()
    np.testing.assert_allclose(prior[1].numpy(), plain_prior(masks[1, 2:6, 2:8], 8), atol=1e-6)
    # A type without cells takes the mean of all three cells; the empty mask counts for nothing.
    np.testing.assert_allclose(prior[2].numpy(), (2 * prior[0] + prior[1]).numpy() / 3, atol=1e-6)


def test_no_cell_at_all():
    with pytest.raises(InputError, match="at least one training cell"):
        learn_shape_prior([record(np.zeros((1, 9, 9), bool), [0])], 2)
