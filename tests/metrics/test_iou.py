import numpy as np
import pytest
import torch
from pycocotools import mask as coco

from cellseg.errors import InputError
from cellseg.metrics import box_iou, intersections, iou, mask_iou, shared_pixels
from cellseg.structures import CropMasks


@pytest.fixture(params=["usual", "large image", "many masks", "both"])
def path(request, monkeypatch):
    """Every way through the code: the table of all pixels or of used ones, counting or sorting."""
    if request.param in ("large image", "both"):
        monkeypatch.setattr(iou, "MAX_TABLE_PIXELS", 0)
    if request.param in ("many masks", "both"):
        monkeypatch.setattr(iou, "MAX_DENSE_PAIRS", 0)


@pytest.mark.parametrize("overlapping", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_equals_dense_count(dense, path, seed, overlapping):
    generator = np.random.default_rng(seed)
    truths = dense.random(generator, overlapping)
    predictions = dense.disturbed(generator, truths, overlapping=seed % 2 == 0)
    expected = np.array([[(p & t).sum() for t in truths] for p in predictions], dtype=np.int64)
    expected = expected.reshape(len(predictions), len(truths))
    a, b = dense.crops(predictions), dense.crops(truths)

    counted = intersections(a, b)
    assert counted.dtype == torch.int64
    np.testing.assert_array_equal(counted.numpy(), expected)
    assert torch.equal(intersections(b, a), counted.T)
    rows, columns, shared = (part.tolist() for part in shared_pixels(a, b))
    assert list(zip(rows, columns, shared, strict=True)) == [
        (row, column, expected[row, column]) for row, column in zip(*expected.nonzero(), strict=True)
    ]
    fractions = dense.ious(predictions, truths)
    exact = np.array([[float(value) for value in row] for row in fractions]).reshape(expected.shape)
    np.testing.assert_array_equal(mask_iou(a, b).numpy(), exact)


def test_many_layers(dense, path):
    """Twenty masks on one pixel: each is counted once."""
    stack = dense.masks(*[(0, 0, 1 + i % 5, 1 + i // 5) for i in range(20)])
    expected = (stack[:, None] & stack[None]).sum(axis=(2, 3))
    np.testing.assert_array_equal(intersections(dense.crops(stack), dense.crops(stack)).numpy(), expected)


def test_agrees_with_pycocotools(dense):
    generator = np.random.default_rng(5)
    a, b = (generator.random((7, 40, 30)) < 0.4 for _ in range(2))
    coded = [coco.encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8))) for masks in (a, b)]
    expected = coco.iou(*coded, [0] * 7)
    np.testing.assert_allclose(mask_iou(dense.crops(a), dense.crops(b)).numpy(), expected, rtol=1e-15)


def test_masks_without_pixels(dense):
    empty = CropMasks.empty((dense.height, dense.width))
    blank = dense.crops(dense.masks((0, 0, 0, 0)))
    cell = dense.crops(dense.masks((1, 1, 4, 4)))
    assert mask_iou(empty, cell).shape == (0, 1)
    assert mask_iou(cell, empty).shape == (1, 0)
    assert mask_iou(empty, empty).shape == (0, 0)
    assert mask_iou(blank, cell).tolist() == [[0.0]]
    assert mask_iou(blank, blank).tolist() == [[0.0]]


def test_huge_image_needs_no_table():
    """A table of this image would take 160 GB."""
    size = (200_000, 200_000)
    a = CropMasks.from_crops(
        [torch.ones(3, 4, dtype=torch.bool)], torch.tensor([[199_990, 199_990, 199_994, 199_993]]), size
    )
    b = CropMasks.from_crops(
        [torch.ones(3, 4, dtype=torch.bool)], torch.tensor([[199_991, 199_991, 199_995, 199_994]]), size
    )
    assert intersections(a, b).tolist() == [[6]]
    assert mask_iou(a, b).tolist() == [[6 / 18]]


def test_refuses_what_cannot_be_compared(dense):
    cell = dense.crops(dense.masks((1, 1, 4, 4)))
    with pytest.raises(InputError, match=r"the second masks are torch.float32, IoU needs bool: call .threshold\(\)"):
        mask_iou(cell, CropMasks.empty((dense.height, dense.width), dtype=torch.float32))
    with pytest.raises(
        InputError, match=r"image sizes \(height, width\) cannot be compared: \(11, 13\) and \(13, 11\)"
    ):
        mask_iou(cell, CropMasks.empty((13, 11)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("seed", range(5))
def test_cuda_counts_the_same(dense, path, seed):
    generator = np.random.default_rng(seed)
    truths = dense.random(generator, overlapping=True)
    predictions = dense.disturbed(generator, truths, overlapping=True)
    a, b = dense.crops(predictions), dense.crops(truths)
    on_device = shared_pixels(a.to("cuda"), b.to("cuda"))
    for found, expected in zip(on_device, shared_pixels(a, b), strict=True):
        assert found.device.type == "cuda"
        assert torch.equal(found.cpu(), expected)
    with pytest.raises(InputError, match="masks lie on different devices"):
        mask_iou(a.to("cuda"), b)


def test_box_iou_equals_loops():
    generator = np.random.default_rng(0)
    boxes = [torch.from_numpy(generator.integers(0, 7, size=(count, 4)).astype(np.float32)) for count in (9, 7)]
    for corners in boxes:  # some stay empty
        corners[1:, 2:] += corners[1:, :2]
    expected = torch.zeros(9, 7)
    for i, a in enumerate(boxes[0].tolist()):
        for j, b in enumerate(boxes[1].tolist()):
            pixels = [
                {(x, y) for x in range(int(c[0]), int(c[2])) for y in range(int(c[1]), int(c[3]))} for c in (a, b)
            ]
            union = len(pixels[0] | pixels[1])
            expected[i, j] = len(pixels[0] & pixels[1]) / union if union else 0
    torch.testing.assert_close(box_iou(*boxes), expected)
    assert (expected > 0).sum() > 5


def test_box_iou_of_nothing():
    box = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    assert box_iou(torch.zeros(0, 4), box).shape == (0, 1)
    assert box_iou(torch.zeros(1, 4), torch.zeros(1, 4)).tolist() == [[0.0]]
    with pytest.raises(InputError, match=r"box_iou: b should have shape \[N, 4\], found \[1, 5\]"):
        box_iou(box, torch.zeros(1, 5))
