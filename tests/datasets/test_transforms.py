"""Views: exact geometry of images and masks, and the classes of the semantic map."""

import numpy as np
import pytest
import torch

from cellseg.datasets.transforms import RandomView, class_map, dihedral_matrix, warp, warp_cells
from cellseg.structures import CropMasks


def plain_view(image: np.ndarray, index: int) -> np.ndarray:
    """The symmetry that ``dihedral_matrix(index)`` stands for, by turning and mirroring whole arrays."""
    turned = np.rot90(image, index % 4)
    return turned[:, ::-1] if index >= 4 else turned


@pytest.mark.parametrize("index", range(8))
def test_symmetries_move_whole_pixels(index):
    image = np.random.default_rng(0).integers(0, 256, (24, 24), dtype=np.uint8)
    turn = dihedral_matrix(index)
    centre = np.array([12.0, 12.0])
    matrix = np.column_stack([turn, centre - turn @ centre])
    assert np.array_equal(warp(image, matrix, (24, 24)), plain_view(image, index))


def test_identity_view_is_a_slice():
    image = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    matrix = np.array([[1.0, 0.0, 7.0], [0.0, 1.0, 5.0]])
    assert np.array_equal(warp(image, matrix, (20, 30)), image[5:25, 7:37])


@pytest.mark.parametrize("magnification", [0.5, 0.8, 1.0, 1.25, 2.0, 3.0])
@pytest.mark.parametrize("index", range(8))
def test_scaled_masks_keep_centre_and_area(magnification, index):
    yy, xx = np.mgrid[0:120, 0:120]
    disc = (xx + 0.5 - 61.3) ** 2 + (yy + 0.5 - 57.8) ** 2 < 14.2**2
    cells = CropMasks.from_dense(torch.from_numpy(disc[None]))
    turn = dihedral_matrix(index) / magnification
    size = (150, 160)
    shift = np.array([60.0, 60.0]) - turn @ np.array([80.0, 75.0])
    masks, _ = warp_cells(cells, torch.zeros(1, dtype=torch.int64), np.column_stack([turn, shift]), size, 1)
    found = np.argwhere(masks[0])[:, ::-1].mean(axis=0) + 0.5
    true_centre = np.argwhere(disc)[:, ::-1].mean(axis=0) + 0.5
    expected = np.linalg.solve(turn, true_centre - shift)
    assert np.abs(found - expected).max() < 0.2
    assert masks.sum() / disc.sum() == pytest.approx(magnification**2, rel=0.06)


def test_image_and_masks_move_together():
    np.random.seed(3)
    labels = np.zeros((90, 110), dtype=np.int32)
    labels[10:30, 15:40], labels[50:80, 60:75], labels[55:70, 20:45] = 1, 2, 3
    view = RandomView((64, 64), scale=(0.7, 1.5))
    for _ in range(40):
        cells = CropMasks.from_label_image(torch.from_numpy(labels))
        item = dict(img=np.repeat((labels > 0)[..., None] * np.uint8(200), 3, axis=2), cells=cells)
        item["cell_labels"] = torch.arange(3)
        out = view.transform(item)
        drawn = out["masks"].any(axis=0) if len(out["masks"]) else np.zeros((64, 64), dtype=bool)
        # Where the image is clearly bright there is a cell, where clearly dark (and not fill) there is none.
        assert not ((out["img"][..., 0] > 140) & ~drawn & (out["img"][..., 0] != 128)).sum() > 24
        assert (out["img"][..., 0][drawn] >= 95).all()


def test_small_remnants_are_dropped():
    cells = CropMasks.from_dense(torch.ones(1, 10, 10, dtype=torch.bool))
    matrix = np.array([[1.0, 0, 9], [0, 1.0, 0]])  # one column of ten pixels stays in view
    labels = torch.tensor([5])
    assert len(warp_cells(cells, labels, matrix, (10, 10), least_area=11)[0]) == 0
    masks, kept = warp_cells(cells, labels, matrix, (10, 10), least_area=10)
    assert masks.sum() == 10 and kept.tolist() == [5]


def plain_class_map(masks, labels, size, num_classes, rim):
    order = sorted(range(len(masks)), key=lambda i: (-int(masks[i].sum()), i))
    instance = np.zeros(size, dtype=int)
    for i in order:
        instance[masks[i] > 0] = i + 1
    out = np.zeros(size, dtype=int)
    for y in range(size[0]):
        for x in range(size[1]):
            own = instance[y, x]
            if not own:
                continue
            near = [
                instance[y + dy, x + dx]
                for dy in range(-rim, rim + 1)
                for dx in range(-rim, rim + 1)
                if in_disc(dy, dx, rim) and 0 <= y + dy < size[0] and 0 <= x + dx < size[1]
            ]
            out[y, x] = num_classes + 1 if rim and any(n != own for n in near) else labels[own - 1] + 1
    return out


def in_disc(dy: int, dx: int, rim: int) -> bool:
    """OpenCV's elliptic element: row dy spans round(sqrt(rim^2 - dy^2)) columns to each side."""
    return abs(dx) <= round((rim * rim - dy * dy) ** 0.5)


@pytest.mark.parametrize("rim", [0, 1, 2, 3])
def test_class_map_equals_plain_reference(rim):
    rng = np.random.default_rng(rim)
    masks = np.zeros((4, 30, 34), dtype=np.uint8)
    for mask in masks:
        y, x = rng.integers(0, 20), rng.integers(0, 22)
        mask[y : y + rng.integers(4, 12), x : x + rng.integers(4, 12)] = 1
    labels = np.array([0, 2, 1, 0])
    expected = plain_class_map(masks, labels, (30, 34), 3, rim)
    assert np.array_equal(class_map(masks, labels, (30, 34), 3, rim), expected)


def test_class_map_without_cells_is_background():
    found = class_map(np.zeros((0, 8, 9), dtype=np.uint8), np.zeros(0, dtype=np.int64), (8, 9), 2, 2)
    assert found.shape == (8, 9) and not found.any()
