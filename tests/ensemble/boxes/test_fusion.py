"""Box fusion against plain references, its rules, ties and refusals, on every device there is."""

import math

import numpy as np
import pytest
import torch

from cellseg.ensemble import fuse_boxes
from cellseg.ensemble.boxes.checks import METHODS, RULES

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def ranked(boxes, scores, labels, members, weights, across=False):
    """Boxes as dicts, best weighted score first, those of weight 0 left out; only those of a group can be fused."""
    entries = [
        dict(
            box=box,
            raw=score,
            score=score * weights[member],
            weight=weights[member],
            label=label,
            group=0 if across else label,
            member=member,
        )
        for box, score, label, member in zip(
            boxes.double().tolist(), scores.double().tolist(), labels.tolist(), members.tolist(), strict=True
        )
        if weights[member] > 0
    ]
    return sorted(entries, key=lambda entry: (-entry["score"], entry["raw"], entry["box"], entry["label"]))


def mean_box(cluster, parts):
    return [sum(p * e["box"][k] for p, e in zip(parts, cluster, strict=True)) / sum(parts) for k in range(4)]


def reference_clusters(entries, threshold, moving):
    clusters, centres = [], []
    for entry in entries:
        best, best_iou = None, threshold
        for number, (cluster, centre) in enumerate(zip(clusters, centres, strict=True)):
            overlap = iou(centre, entry["box"])
            if cluster[0]["group"] == entry["group"] and overlap > best_iou:
                best, best_iou = number, overlap
        if best is None:
            clusters.append([entry])
            centres.append(entry["box"])
        else:
            clusters[best].append(entry)
            if moving:
                centres[best] = mean_box(clusters[best], [member["score"] for member in clusters[best]])
    return clusters


def heaviest_label(cluster):
    sums = {}
    for entry in cluster:
        sums[entry["label"]] = sums.get(entry["label"], 0.0) + entry["score"]
    return max(sorted(sums), key=sums.get)


def reference_wbf(entries, threshold, weights, rule):
    fused = []
    for cluster in reference_clusters(entries, threshold, moving=True):
        scores = [entry["score"] for entry in cluster]
        total, present = sum(weights), {entry["member"] for entry in cluster}
        if rule == "avg":
            value = sum(scores) / len(scores) * min(sum(w > 0 for w in weights), len(scores)) / total
        elif rule == "max":
            value = max(scores) / max(weights)
        elif rule == "box_and_model_avg":
            value = sum(scores) / sum(e["weight"] for e in cluster) * sum(weights[m] for m in present) / total
        else:
            absent = sum(w for m, w in enumerate(weights) if m not in present)
            value = sum(scores) / (sum(e["weight"] for e in cluster) + absent)
        fused.append((mean_box(cluster, scores), min(value, 1.0), heaviest_label(cluster), cluster))
    return fused


def reference_nmw(entries, threshold, weights):
    fused = []
    for cluster in reference_clusters(entries, threshold, moving=False):
        parts = [entry["score"] * iou(entry["box"], cluster[0]["box"]) for entry in cluster]
        fused.append((mean_box(cluster, parts), cluster[0]["score"] / max(weights), heaviest_label(cluster), cluster))
    return fused


def reference_nms(entries, threshold, weights):
    return [
        (cluster[0]["box"], cluster[0]["score"] / max(weights), cluster[0]["label"], cluster)
        for cluster in reference_clusters(entries, threshold, moving=False)
    ]


def reference_soft_nms(entries, weights, factor, threshold):
    waiting = [dict(entry, now=entry["score"] / max(weights)) for entry in entries]
    fused = []
    while waiting:
        best = max(waiting, key=lambda entry: entry["now"])
        waiting = [entry for entry in waiting if entry is not best]
        for entry in waiting:
            if entry["group"] == best["group"]:
                entry["now"] *= factor(iou(entry["box"], best["box"]))
        close = [e for e in entries if e["group"] == best["group"] and iou(e["box"], best["box"]) > threshold]
        fused.append((best["box"], best["now"], best["label"], close or [best]))
    return [entry for entry in fused if entry[1] > 0.001]


def compare(result, expected, members, device="cpu"):
    assert all(part.device.type == device for part in result)
    result = [part.cpu().numpy() for part in result]
    expected = sorted(expected, key=lambda entry: -entry[1])
    assert len(result[0]) == len(expected)
    np.testing.assert_allclose(result[0], np.array([e[0] for e in expected]).reshape(-1, 4), atol=1e-4)
    np.testing.assert_allclose(result[1], [e[1] for e in expected], atol=1e-6)
    assert result[2].tolist() == [e[2] for e in expected]
    confidence = np.zeros((members, len(expected)))
    for column, (_, _, _, cluster) in enumerate(expected):
        for entry in cluster:
            confidence[entry["member"], column] = max(confidence[entry["member"], column], entry["raw"])
    np.testing.assert_allclose(result[3], confidence, atol=1e-6)


WEIGHTS = ([1.0, 1.0, 1.0], [2.0, 1.0, 0.5], [1.0, 0.0, 3.0])


def fuse_on(device, data, weights, **options):
    data = [part.to(device) for part in data]
    return fuse_boxes(*data, num_members=len(weights), weights=torch.tensor(weights), **options)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(4))
def test_weighted_box_fusion(random_boxes, seed, rule, weights, across, device):
    data = random_boxes(seed, 50)
    result = fuse_on(device, data, weights, method="wbf", iou_threshold=0.5, rule=rule, across_classes=across)
    compare(result, reference_wbf(ranked(*data, weights, across), 0.5, weights, rule), 3, device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("method, reference", [("nmw", reference_nmw), ("nms", reference_nms)])
@pytest.mark.parametrize("seed", range(4))
def test_fusion_around_leaders(random_boxes, seed, method, reference, weights, across, device):
    data = random_boxes(seed, 50)
    result = fuse_on(device, data, weights, method=method, iou_threshold=0.4, across_classes=across)
    compare(result, reference(ranked(*data, weights, across), 0.4, weights), 3, device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize(
    "options, factor",
    [
        ({}, lambda o: math.exp(-o * o / 0.5)),
        ({"sigma": 0.2, "decay": "gaussian"}, lambda o: math.exp(-o * o / 0.2)),
        ({"decay": "linear"}, lambda o: 1 - o if o > 0.4 else 1.0),
    ],
)
@pytest.mark.parametrize("seed", range(6))
def test_soft_nms(random_boxes, seed, options, factor, across, device):
    data, weights = random_boxes(seed, 50), [2.0, 1.0, 0.5]
    result = fuse_on(device, data, weights, method="soft_nms", iou_threshold=0.4, across_classes=across, **options)
    compare(result, reference_soft_nms(ranked(*data, weights, across), weights, factor, 0.4), 3, device)


@pytest.mark.parametrize("options", [{}, {"decay": "linear"}])
@pytest.mark.parametrize("seed", range(4))
def test_soft_nms_of_equal_scores_takes_them_by_corners(random_boxes, seed, options):
    boxes, scores, labels, members = random_boxes(seed, 50)
    data, weights = (boxes, (scores * 5).ceil() / 5, labels, members), [1.0, 1.0, 1.0]

    def factor(o):
        return (1 - o if o > 0.4 else 1.0) if options else math.exp(-o * o / 0.5)

    result = fuse_boxes(*data, num_members=3, method="soft_nms", iou_threshold=0.4, **options)
    expected = sorted(reference_soft_nms(ranked(*data, weights), weights, factor, 0.4), key=lambda entry: -entry[1])
    np.testing.assert_allclose(result.scores.numpy(), [entry[1] for entry in expected], atol=1e-6)
    found = sorted((*box, score) for box, score in zip(result.boxes.tolist(), result.scores.tolist(), strict=True))
    np.testing.assert_allclose(found, sorted((*entry[0], entry[1]) for entry in expected), atol=1e-4)


def test_soft_nms_of_the_same_box_twice():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 5]])
    zeros = torch.zeros(3, dtype=torch.int64)
    linear = fuse_boxes(boxes, torch.tensor([0.5, 0.5, 0.4]), zeros, zeros, None, "soft_nms", 0.3, decay="linear")
    # The second loses all its score, and with it its turn before the third, which the first has halved.
    torch.testing.assert_close(linear.scores, torch.tensor([0.5, 0.2]))
    torch.testing.assert_close(linear.boxes, boxes[[0, 2]])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_boxes_does_not_matter(random_boxes, method, seed):
    boxes, scores, labels, members = random_boxes(seed, 40)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(seed))
    first = fuse_boxes(boxes, scores, labels, members, num_members=3, method=method)
    second = fuse_boxes(boxes[order], scores[order], labels[order], members[order], num_members=3, method=method)
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(3))
def test_nor_does_it_with_equal_scores(random_boxes, seed, method, across):
    boxes, scores, labels, members = random_boxes(seed, 40)
    # Some boxes come twice, from other members, too.
    boxes[30:] = boxes[:10]
    scores = (scores * 3).ceil() / 3
    order = torch.randperm(40, generator=torch.Generator().manual_seed(seed))
    moved = torch.tensor([2, 0, 1])  # member m becomes moved[m]
    first = fuse_boxes(boxes, scores, labels, members, 3, method, across_classes=across)
    again = (values[order] for values in (boxes, scores, labels, moved[members]))
    second = fuse_boxes(*again, 3, method, across_classes=across)
    for a, b in zip(first[:3], second[:3], strict=True):
        assert torch.equal(a, b)
    if method in ("wbf", "nmw"):
        assert torch.equal(first.confidence, second.confidence[moved])


@pytest.mark.parametrize("method", ["wbf", "nmw", "nms"])
@pytest.mark.parametrize("seed", range(3))
def test_copies_of_a_member_change_nothing(random_boxes, seed, method):
    """Of NMS, NMW and WBF; in soft-NMS a copy takes score from the box that it copies."""
    boxes, scores, labels, _ = random_boxes(seed, 30)
    # Each kept box of one member is one cell: what is copied has nothing of its own to fuse.
    zeros = torch.zeros(30, dtype=torch.int64)
    boxes, scores, labels, _ = fuse_boxes(boxes, scores, labels, zeros, method="nms", iou_threshold=0.3)
    count = len(boxes)
    members = torch.arange(3).repeat_interleave(count)
    copied = fuse_boxes(boxes.repeat(3, 1), scores.repeat(3), labels.repeat(3), members, method=method)
    torch.testing.assert_close(copied.boxes, boxes)
    torch.testing.assert_close(copied.scores, scores)
    assert torch.equal(copied.labels, labels)
    torch.testing.assert_close(copied.confidence, scores.expand(3, -1))


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_members_does_not_matter(random_boxes, seed, method, across):
    boxes, scores, labels, members = random_boxes(seed, 40)
    weights, order = torch.tensor([2.0, 1.0, 0.5]), torch.tensor([2, 0, 1])  # member m becomes order[m]
    moved = torch.empty_like(weights)
    moved[order] = weights
    first = fuse_boxes(boxes, scores, labels, members, 3, method, weights=weights, across_classes=across)
    second = fuse_boxes(boxes, scores, labels, order[members], 3, method, weights=moved, across_classes=across)
    for a, b in zip(first[:3], second[:3], strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(first.confidence, second.confidence[order])


@pytest.mark.parametrize("method", METHODS)
def test_weights_count_relative_to_each_other(random_boxes, method):
    data = random_boxes(1, 40)
    first, second = (
        fuse_boxes(*data, 3, method, weights=factor * torch.tensor([2.0, 1.0, 0.5])) for factor in (1.0, 8.0)
    )
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(5))
def test_scores_stay_in_range(random_boxes, method, seed):
    boxes, scores, labels, members = random_boxes(seed, 40)
    result = fuse_boxes(
        boxes, scores.sqrt(), labels, members, num_members=3, method=method, weights=torch.tensor([5.0, 1.0, 0.1])
    )
    assert ((result.scores >= 0) & (result.scores <= 1)).all()
    assert (result.scores[:-1] >= result.scores[1:]).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_weight_of_zero_removes_a_member(random_boxes, method):
    boxes, scores, labels, members = random_boxes(3, 40)
    without = fuse_boxes(
        boxes, scores, labels, members, num_members=3, method=method, weights=torch.tensor([1.0, 0.0, 1.0])
    )
    mine = members != 1
    alone = fuse_boxes(
        boxes[mine], scores[mine], labels[mine], members[mine], 3, method, weights=torch.tensor([1.0, 0.0, 1.0])
    )
    for a, b in zip(without, alone, strict=True):
        assert torch.equal(a, b)
    assert not without.confidence[1].any()


def test_equal_scores_are_taken_by_corners():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [50, 0, 60, 10], [51, 0, 61, 10]])
    scores, zeros = torch.full((4,), 0.5), torch.zeros(4, dtype=torch.int64)
    for order in ([0, 1, 2, 3], [3, 1, 2, 0]):
        result = fuse_boxes(boxes[order], scores, zeros, zeros, method="nms", iou_threshold=0.5)
        assert result.boxes.tolist() == [[0, 0, 10, 10], [50, 0, 60, 10]]


def test_across_classes_the_heavier_label_wins():
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(3, 1)
    scores, labels = torch.tensor([0.6, 0.5, 0.4]), torch.tensor([1, 0, 0])
    members = torch.arange(3)
    apart = fuse_boxes(boxes, scores, labels, members)
    assert sorted(apart.labels.tolist()) == [0, 1]
    for method, expected in (("wbf", 0), ("nmw", 0), ("nms", 1)):
        together = fuse_boxes(boxes, scores, labels, members, method=method, across_classes=True)
        assert together.labels.tolist() == [expected]
        torch.testing.assert_close(together.confidence[:, 0], scores)


def test_weak_boxes_are_skipped():
    boxes = torch.tensor([[0.0, 0, 10, 10], [30, 0, 40, 10]])
    zeros = torch.zeros(2, dtype=torch.int64)
    result = fuse_boxes(boxes, torch.tensor([0.2, 0.19]), zeros, zeros, skip_score=0.2)
    assert result.boxes.tolist() == [[0, 0, 10, 10]]


@pytest.mark.parametrize("method", METHODS)
def test_no_boxes(method):
    none = torch.zeros(0, dtype=torch.int64)
    result = fuse_boxes(torch.zeros((0, 4)), torch.zeros(0), none, none, num_members=2, method=method)
    assert result.boxes.shape == (0, 4) and result.confidence.shape == (2, 0)


@pytest.mark.parametrize("method", METHODS)
def test_boxes_without_area_or_score_stay_finite(method):
    boxes = torch.tensor([[5.0, 5, 5, 5], [5, 5, 5, 5], [0, 0, 10, 10], [0, 0, 10, 10]])
    zeros = torch.zeros(4, dtype=torch.int64)
    result = fuse_boxes(boxes, torch.zeros(4), zeros, zeros, method=method)
    assert result.boxes.isfinite().all() and result.scores.isfinite().all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("method", METHODS)
def test_cuda_gives_the_same(random_boxes, method):
    data = random_boxes(0, 200, cells=40)
    for a, b in zip(
        fuse_boxes(*data, method=method), fuse_boxes(*(d.cuda() for d in data), method=method), strict=True
    ):
        torch.testing.assert_close(a, b.cpu())
