import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cellseg.datasets.rescale import rescale_image, rescale_masks, scaled_size
from cellseg.errors import InputError
from cellseg.structures import CropMasks


def coverage_matrix(length: int, new_length: int) -> np.ndarray:
    """Part of each output cell [new_length] that each input cell [length] covers, by the definition."""
    matrix = np.zeros((new_length, length))
    for new in range(new_length):
        start, stop = new * length / new_length, (new + 1) * length / new_length
        for old in range(length):
            matrix[new, old] = max(0.0, min(stop, old + 1) - max(start, old)) * new_length / length
    return matrix


def reference(dense: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    rows, columns = coverage_matrix(dense.shape[1], size[0]), coverage_matrix(dense.shape[2], size[1])
    return rows @ dense.astype(float) @ columns.T


def disks(size: tuple[int, int], circles: list[tuple[float, float, float]]) -> torch.Tensor:
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    return torch.from_numpy(np.stack([(x - a) ** 2 + (y - b) ** 2 < r * r for a, b, r in circles]))


def centroid(mask: np.ndarray) -> np.ndarray:
    """Weighted mean of pixel centres, (x, y)."""
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]] + 0.5
    return np.array([(x * mask).sum(), (y * mask).sum()]) / mask.sum()


@given(
    seed=st.integers(0, 10**6),
    size=st.tuples(st.integers(1, 17), st.integers(1, 17)),
    new_size=st.tuples(st.integers(1, 25), st.integers(1, 25)),
    count=st.integers(0, 4),
    fill=st.sampled_from([0.1, 0.5, 0.9]),
)
def test_masks_follow_the_definition_of_coverage(seed, size, new_size, count, fill):
    dense = np.random.default_rng(seed).random((count, *size)) < fill
    scaled = rescale_masks(CropMasks.from_dense(torch.from_numpy(dense)), new_size).to_dense().numpy()
    coverage = reference(dense, new_size)
    decided = np.abs(coverage - 0.5) > 1e-9  # the reference is in floating point
    assert scaled.shape == coverage.shape
    assert (scaled == (coverage > 0.5))[decided].all()
    assert not scaled[~decided].any(), "exactly one half is not more than half"


@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 3.0))
def test_separate_masks_stay_separate(seed, scale):
    labels = torch.from_numpy(np.random.default_rng(seed).integers(0, 6, (23, 31)))
    masks = CropMasks.from_label_image(labels)
    assert not rescale_masks(masks, scaled_size((23, 31), scale)).overlaps()


@pytest.mark.parametrize("scale", [0.3, 0.5, 0.77, 1.0, 1.6, 2.0])
def test_masks_keep_their_place(scale):
    size = (260, 352)
    masks = CropMasks.from_dense(disks(size, [(60.2, 50.7, 28.0), (300.5, 200.1, 35.3), (32.1, 219.4, 30.0)]))
    new_size = scaled_size(size, scale)
    factor = np.array([new_size[1] / size[1], new_size[0] / size[0]])
    scaled = rescale_masks(masks, new_size)
    for before, after in zip(masks.to_dense().numpy(), scaled.to_dense().numpy(), strict=True):
        assert np.abs(centroid(before) * factor - centroid(after)).max() < 0.1
        # Pixels that are covered by exactly half are left out, of which there are many at scale 1/2.
        assert after.sum() == pytest.approx(before.sum() * factor.prod(), rel=0.04)


@pytest.mark.parametrize("scale", [0.3, 0.5, 0.77, 1.6])
def test_masks_do_not_drift(scale):
    """Small cells are rounded to pixels one by one, but in no direction more than in the other."""
    rng = np.random.default_rng(1)
    circles = [(*rng.uniform((15, 15), (85, 105)), rng.uniform(6, 12)) for _ in range(150)]
    masks = CropMasks.from_dense(disks((120, 100), circles))
    new_size = scaled_size(masks.image_size, scale)
    factor = np.array([new_size[1] / 100, new_size[0] / 120])
    pairs = zip(masks.to_dense().numpy(), rescale_masks(masks, new_size).to_dense().numpy(), strict=True)
    shifts = np.array([centroid(after) - centroid(before) * factor for before, after in pairs])
    assert np.abs(shifts.mean(0)).max() < 0.02


@pytest.mark.parametrize("scale", [0.3, 0.5, 0.77, 1.6, 2.0])
def test_image_and_masks_stay_aligned(scale):
    size = (260, 352)
    disk = disks(size, [(151.3, 99.6, 40.0)])
    image = disk[0].numpy().astype(np.uint8) * 200
    new_size = scaled_size(size, scale)
    bright = rescale_image(image, new_size).astype(float)
    mask = rescale_masks(CropMasks.from_dense(disk), new_size).to_dense()[0].numpy()
    assert bright.shape == new_size
    assert np.abs(centroid(bright) - centroid(mask)).max() < 0.1
    if scale < 1:  # an averaged pixel is as bright as the disk covers it, and 200 where it covers all of it
        assert (mask == (bright > 100))[np.abs(bright - 100) > 2].all()


def test_half_scale_averages_blocks_of_four():
    image = np.array([[0, 4, 10, 10], [8, 12, 30, 30]], np.uint8)
    assert rescale_image(image, (1, 2)).tolist() == [[6, 20]]


def test_colour_images_and_equal_sizes():
    image = np.random.default_rng(0).integers(0, 255, (8, 10, 3), dtype=np.uint8)
    assert rescale_image(image, (8, 10)) is image
    assert rescale_image(image, (4, 5)).shape == (4, 5, 3)


def test_a_mask_of_which_nothing_is_left_stays_as_an_empty_one():
    dense = torch.zeros((2, 20, 20), dtype=torch.bool)
    dense[0, 3, 3] = True
    dense[1, 8:16, 8:16] = True
    assert rescale_masks(CropMasks.from_dense(dense), (5, 5)).areas().tolist() == [0, 4]


@pytest.mark.parametrize(
    ("size", "scale", "expected"),
    [((1022, 1024), 0.5, (511, 512)), ((5, 7), 0.5, (3, 4)), ((5, 7), 0.01, (1, 1)), ((10, 10), 1.5, (15, 15))],
)
def test_sizes_are_rounded_half_up(size, scale, expected):
    assert scaled_size(size, scale) == expected


def test_probabilities_are_refused():
    masks = CropMasks.empty((4, 4), dtype=torch.float32)
    with pytest.raises(InputError, match="expected bool masks, found torch.float32"):
        rescale_masks(masks, (2, 2))
