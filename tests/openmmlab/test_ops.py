"""NMS and RoIAlign on torchvision's kernels, against plain loops; everything else says that it is missing."""

import importlib.util
import math
import sys

import mmcv.ops
import numpy as np
import pytest
import torch

from cellseg.openmmlab import IncompatibleInstallError, UnsupportedOpError, ops

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def random_boxes(count: int, seed: int, side: float = 100.0, grid: bool = False) -> torch.Tensor:
    """float64 [count, 4]; on a grid many boxes and overlaps are equal."""
    random = np.random.default_rng(seed)
    corner = random.uniform(0, side, (count, 2))
    size = random.uniform(1, side / 4, (count, 2))
    boxes = np.concatenate([corner, corner + size], axis=1)
    if grid:
        boxes = np.concatenate([np.floor(corner / 10) * 10, np.floor(corner / 10) * 10 + 10], axis=1)
        boxes[:, 2] += np.floor(size[:, 0] / 10) * 10
    return torch.from_numpy(boxes)


def reference_nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> list[int]:
    """Greedy suppression by its definition; equal scores by index."""
    boxes, scores = boxes.tolist(), scores.tolist()
    waiting = sorted(range(len(boxes)), key=lambda index: (-scores[index], index))
    kept = []
    while waiting:
        best, *waiting = waiting
        kept.append(best)
        waiting = [other for other in waiting if iou(boxes[best], boxes[other]) <= threshold]
    return kept


def iou(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union > 0 else 0.0


def reference_roi_align(
    image: torch.Tensor, rois: torch.Tensor, size: tuple[int, int], scale: float, sampling: int, aligned: bool
) -> torch.Tensor:
    """Mean of bilinear samples per bin, as the Mask R-CNN paper and detectron2 define it."""
    rows, columns = size
    result = torch.zeros(len(rois), image.shape[1], rows, columns, dtype=image.dtype)
    for number, (index, x0, y0, x1, y1) in enumerate(rois.tolist()):
        shift = 0.5 if aligned else 0.0
        left, top = x0 * scale - shift, y0 * scale - shift
        width, height = x1 * scale - shift - left, y1 * scale - shift - top
        if not aligned:
            width, height = max(width, 1.0), max(height, 1.0)
        across = sampling or math.ceil(width / columns)
        down = sampling or math.ceil(height / rows)
        for row in range(rows):
            for column in range(columns):
                total = torch.zeros(image.shape[1], dtype=image.dtype)
                for i in range(down):
                    for j in range(across):
                        y = top + (row + (i + 0.5) / down) * height / rows
                        x = left + (column + (j + 0.5) / across) * width / columns
                        total += sample(image[int(index)], y, x)
                result[number, :, row, column] = total / max(across * down, 1)
    return result


def sample(image: torch.Tensor, y: float, x: float) -> torch.Tensor:
    """Bilinear; up to one pixel outside the border pixel's value holds, further out it is 0."""
    _, height, width = image.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return torch.zeros(len(image), dtype=image.dtype)
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    fy, fx = y - top, x - left
    upper = image[:, top, left] * (1 - fx) + image[:, top, right] * fx
    lower = image[:, bottom, left] * (1 - fx) + image[:, bottom, right] * fx
    return upper * (1 - fy) + lower * fy


def test_ops_are_torchvisions_and_found_by_the_import_system():
    assert ops.serves_torchvision()
    spec = importlib.util.find_spec("mmcv._ext")
    assert spec is not None and spec.loader is not None and spec.origin == "torchvision"
    assert sys.modules["mmcv._ext"].__spec__ is spec
    assert ops.install_ops() is sys.modules["mmcv._ext"]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("seed", range(4))
def test_nms_is_the_reference(device, threshold, seed):
    boxes = random_boxes(200, seed)
    scores = torch.from_numpy(np.random.default_rng(seed + 100).random(200))
    dets, kept = mmcv.ops.nms(boxes.to(device), scores.to(device), threshold)
    assert kept.tolist() == reference_nms(boxes, scores, threshold)
    assert torch.equal(dets.cpu(), torch.cat([boxes, scores[:, None]], dim=1)[kept.cpu()])


def test_nms_of_thousands_of_boxes():
    boxes = random_boxes(4000, 1, side=600)
    scores = torch.from_numpy(np.random.default_rng(2).random(4000))
    _, kept = mmcv.ops.nms(boxes, scores, 0.5)
    expected = reference_nms(boxes, scores, 0.5)
    assert 500 < len(expected) < 4000
    assert kept.tolist() == expected


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("count", [2, 33, 700])
def test_equal_scores_are_taken_by_index(device, count):
    # More than 16 equal scores, with which an unstable sort would show.
    boxes = random_boxes(count, 3, grid=True)
    scores = torch.from_numpy(np.random.default_rng(4).integers(0, 3, count) / 4.0)
    _, kept = mmcv.ops.nms(boxes.to(device), scores.to(device), 0.4)
    assert kept.tolist() == reference_nms(boxes, scores, 0.4)


@pytest.mark.parametrize(("threshold", "expected"), [(0.5, [0, 1]), (0.499, [0])])
def test_a_box_goes_when_its_iou_is_greater_than_the_threshold(threshold, expected):
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 2.0]])
    _, kept = mmcv.ops.nms(boxes, torch.tensor([0.9, 0.8]), threshold)
    assert kept.tolist() == expected


@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize("split", [10000, 50])
def test_batched_nms(class_agnostic, split):
    boxes = random_boxes(300, 5)
    scores = torch.from_numpy(np.random.default_rng(6).permutation(300) / 300.0)
    labels = torch.from_numpy(np.random.default_rng(7).integers(0, 3, 300))
    config = {"type": "nms", "iou_threshold": 0.4, "split_thr": split}
    dets, kept = mmcv.ops.batched_nms(boxes, scores, labels, config, class_agnostic=class_agnostic)
    if class_agnostic and split > len(boxes):
        expected = reference_nms(boxes, scores, 0.4)
    else:
        # Above split_thr mmcv goes class by class even when it is to be class-agnostic.
        chosen = [torch.nonzero(labels == label)[:, 0] for label in range(3)]
        expected = [int(part[i]) for part in chosen for i in reference_nms(boxes[part], scores[part], 0.4)]
    expected = sorted(expected, key=lambda index: -scores[index])
    assert kept.tolist() == expected
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], dim=1)[kept])


def test_nms_limits_and_score_threshold():
    boxes = random_boxes(100, 8)
    scores = torch.from_numpy(np.random.default_rng(9).random(100))
    full = reference_nms(boxes, scores, 0.3)
    assert mmcv.ops.nms(boxes, scores, 0.3, max_num=5)[1].tolist() == full[:5]
    above = torch.nonzero(scores > 0.6)[:, 0]
    expected = above[reference_nms(boxes[above], scores[above], 0.3)].tolist()
    assert mmcv.ops.nms(boxes, scores, 0.3, score_threshold=0.6)[1].tolist() == expected


def test_nms_of_nothing():
    dets, kept = mmcv.ops.nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert dets.shape == (0, 5) and kept.shape == (0,) and kept.dtype == torch.int64
    config = {"type": "nms", "iou_threshold": 0.5}
    dets, kept = mmcv.ops.batched_nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long(), config, True)
    assert dets.shape == (0, 5) and kept.shape == (0,)


def test_nms_of_numpy_arrays_and_half_precision():
    boxes = random_boxes(50, 10).float()
    scores = torch.linspace(1, 0, 50)
    dets, kept = mmcv.ops.nms(boxes.numpy(), scores.numpy(), 0.3)
    assert isinstance(dets, np.ndarray) and kept.tolist() == reference_nms(boxes, scores, 0.3)
    half = boxes.bfloat16()
    assert mmcv.ops.nms(half, scores.bfloat16(), 0.3)[1].tolist() == reference_nms(half, scores.bfloat16(), 0.3)


# None has a sample exactly one pixel outside, where the value jumps to 0 and rounding decides.
ROIS = [
    [0, 1.0, 2.0, 20.0, 17.0],
    [1, 3.3, 0.2, 9.7, 30.5],
    [1, -6.1, -9.2, 12.0, 8.0],
    [0, 20.0, 20.0, 60.0, 50.0],
    [0, 5.0, 5.0, 5.0, 5.0],
    [1, 7.25, 8.5, 7.5, 9.0],
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling", [0, 1, 2, 3])
@pytest.mark.parametrize(("scale", "size"), [(1.0, (7, 7)), (0.5, (2, 3)), (0.25, (1, 1))])
def test_roi_align_is_the_reference(device, aligned, sampling, scale, size):
    image = torch.from_numpy(np.random.default_rng(11).normal(size=(2, 3, 13, 11)))
    rois = torch.tensor(ROIS, dtype=torch.float64)
    result = mmcv.ops.roi_align(image.to(device), rois.to(device), size, scale, sampling, "avg", aligned)
    expected = reference_roi_align(image, rois, size, scale, sampling, aligned)
    torch.testing.assert_close(result.cpu(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling", [0, 2])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_roi_align_gradient(device, aligned, sampling, scale):
    image = torch.from_numpy(np.random.default_rng(12).normal(size=(2, 2, 7, 6))).to(device).requires_grad_()
    rois = torch.tensor(ROIS[:4], dtype=torch.float64, device=device)
    layer = mmcv.ops.RoIAlign((2, 3), scale, sampling, "avg", aligned)
    assert torch.autograd.gradcheck(lambda features: layer(features, rois), (image,), nondet_tol=1e-12)


def test_roi_align_of_nothing():
    image = torch.rand(1, 2, 8, 8, requires_grad=True)
    result = mmcv.ops.roi_align(image, torch.zeros(0, 5), (7, 7), 1.0, 0)
    assert result.shape == (0, 2, 7, 7)
    result.sum().backward()
    assert torch.equal(image.grad, torch.zeros(1, 2, 8, 8))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_roi_align_sums_half_precision_in_single(dtype):
    image = torch.from_numpy(np.random.default_rng(13).normal(size=(2, 2, 13, 11))).to(dtype).requires_grad_()
    rois = torch.tensor(ROIS[:3])
    result = mmcv.ops.roi_align(image, rois, (3, 3), 1.0, 0)
    assert result.dtype == dtype
    expected = reference_roi_align(image.detach().double(), rois.double(), (3, 3), 1.0, 0, True)
    torch.testing.assert_close(result.double(), expected, rtol=4 * torch.finfo(dtype).eps, atol=1e-3)
    result.sum().backward()
    assert image.grad.dtype == dtype and image.grad.abs().sum() > 0


FOUR = torch.tensor([[0.0, 0.0, 2.0, 2.0]])


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: mmcv.ops.nms(FOUR, torch.ones(1), 0.5, offset=1), "nms with offset=1"),
        (lambda: mmcv.ops.soft_nms(FOUR, torch.ones(1)), "softnms"),
        (lambda: mmcv.ops.nms_match(torch.ones(1, 5), 0.5), "nms_match"),
        (lambda: mmcv.ops.nms_rotated(torch.ones(1, 5), torch.ones(1), 0.5), "nms_rotated"),
        (
            lambda: mmcv.ops.roi_align(torch.rand(1, 1, 4, 4), torch.zeros(1, 5), 2, 1.0, 0, "max"),
            "RoIAlign with pool_mode='max'",
        ),
        (lambda: mmcv.ops.roi_pool(torch.rand(1, 1, 4, 4), torch.zeros(1, 5), 2), "roi_pool_forward"),
        (lambda: mmcv.ops.sigmoid_focal_loss(torch.rand(2, 3), torch.ones(2).long()), "sigmoid_focal_loss_forward"),
        (
            lambda: mmcv.ops.ModulatedDeformConv2d(1, 1, 3)(
                torch.rand(1, 1, 4, 4), torch.rand(1, 18, 2, 2), torch.rand(1, 9, 2, 2)
            ),
            "modulated_deform_conv_forward",
        ),
        (lambda: mmcv.ops.bbox_overlaps(FOUR, FOUR), "bbox_overlaps"),
    ],
)
def test_what_torchvision_has_not_is_refused_when_it_is_called(call, named):
    with pytest.raises(UnsupportedOpError) as caught:
        call()
    assert str(caught.value).startswith(f"mmcv op {named} is not available: torchvision has no kernel for it; ")
    assert "pip install mmcv==2.1.0" in str(caught.value)


def test_backward_of_max_pooling_is_refused():
    extension = sys.modules["mmcv._ext"]
    empty = torch.zeros(0)
    with pytest.raises(UnsupportedOpError, match="pool_mode='max'"):
        extension.roi_align_backward(empty, empty, empty, empty, empty, 1, 1, 1.0, 0, 0, True)


@pytest.fixture
def made_up_mmcv(tmp_path, monkeypatch):
    """A function that puts an mmcv of some version before the real one, whose _ext has this source (None: none)."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "mmcv"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if not isinstance(finder, ops._Finder)])
    monkeypatch.syspath_prepend(tmp_path)

    def make(version: str, extension: str | None) -> None:
        (tmp_path / "mmcv").mkdir()
        (tmp_path / "mmcv/__init__.py").write_text(f"__version__ = {version!r}\n")
        if extension is not None:
            (tmp_path / "mmcv/_ext.py").write_text(extension)

    yield make
    for name in [name for name in sys.modules if name.partition(".")[0] == "mmcv"]:
        del sys.modules[name]


def test_compiled_ops_are_left_alone(made_up_mmcv):
    made_up_mmcv("2.1.0", "def nms(boxes, scores):\n    return 'compiled'\n")
    assert ops.install_ops().nms(1, 2) == "compiled"
    assert not ops.serves_torchvision()


def test_ops_are_put_beside_an_mmcv_without_them(made_up_mmcv):
    made_up_mmcv("2.1.0", None)
    assert ops.install_ops().nms is ops.nms
    assert ops.serves_torchvision()


@pytest.mark.parametrize(
    ("version", "extension", "message"),
    [
        ("2.1.0", "raise ImportError('undefined symbol: _ZN3c10')", "mmcv's compiled ops do not load beside torch "),
        ("2.2.0", None, "mmcv 2.2.0 is installed, but mmdet and mmsegmentation need 2.0.0 <= mmcv < 2.2.0; "),
        ("1.7.1", None, "mmcv 1.7.1 is installed, but mmdet and mmsegmentation need 2.0.0 <= mmcv < 2.2.0; "),
    ],
)
def test_an_install_that_cannot_work_is_named(made_up_mmcv, version, extension, message):
    made_up_mmcv(version, extension)
    with pytest.raises(IncompatibleInstallError) as caught:
        ops.install_ops()
    assert str(caught.value).startswith(message)
    assert "pip install mmcv-lite==2.1.0" in str(caught.value)


def test_a_missing_mmcv_is_named(made_up_mmcv, monkeypatch):
    monkeypatch.setitem(sys.modules, "mmcv", None)
    with pytest.raises(IncompatibleInstallError, match="mmcv is not installed; pip install mmcv-lite==2.1.0"):
        ops.install_ops()


def test_a_torchvision_of_another_torch_is_named(monkeypatch):
    ops._kernels.cache_clear()
    monkeypatch.setitem(sys.modules, "torchvision.ops", None)
    with pytest.raises(IncompatibleInstallError, match="torchvision does not load beside torch .* same index"):
        ops.nms(FOUR, torch.ones(1), 0.5, 0)
