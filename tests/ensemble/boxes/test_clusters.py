"""Pairs, greedy leaders and running-mean clusters against plain loops."""

import pytest
import torch

from cellseg.ensemble.boxes.clusters import Clusters, greedy_leaders, leader_clusters, mean_clusters, overlapping_pairs
from cellseg.metrics import box_iou


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.55, 0.9])
def test_overlapping_pairs_are_those_of_the_full_table(random_boxes, seed, threshold):
    a, b = random_boxes(seed, 40)[0].double(), random_boxes(seed + 100, 30)[0].double()
    rows, columns, iou = overlapping_pairs(a, b, threshold)
    table = box_iou(a, b)
    found = torch.zeros_like(table)
    found[rows, columns] = iou
    assert len(set(zip(rows.tolist(), columns.tolist(), strict=True))) == len(rows)
    torch.testing.assert_close(found, torch.where(table > threshold, table, 0.0), rtol=0, atol=1e-12)


def test_overlapping_pairs_of_very_different_sizes():
    a = torch.tensor([[0.0, 0.0, 1000.0, 1000.0], [10.0, 10.0, 11.0, 11.0]]).double()
    b = torch.tensor([[10.0, 10.0, 11.0, 11.0], [1.0, 1.0, 1000.0, 1000.0], [5.0, 5.0, 5.0, 5.0]]).double()
    rows, columns, _ = overlapping_pairs(a, b, 0.5)
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]


@pytest.mark.parametrize("seed", range(20))
def test_greedy_leaders_fall_only_to_kept_ones(seed):
    generator = torch.Generator().manual_seed(seed)
    excludes = torch.rand(25, 25, generator=generator) < 0.15
    better, worse = torch.triu(excludes, 1).nonzero().unbind(1)
    kept: list[int] = []
    for item in range(25):
        if not any(excludes[leader, item] for leader in kept):
            kept.append(item)
    assert greedy_leaders(better, worse, 25).nonzero()[:, 0].tolist() == kept


def test_greedy_leaders_of_a_long_chain():
    links = torch.arange(200)
    keep = greedy_leaders(links, links + 1, 201)
    assert keep.tolist() == [index % 2 == 0 for index in range(201)]


@pytest.mark.parametrize("seed", range(20))
def test_mean_clusters_are_those_of_one_box_after_another(random_boxes, seed):
    boxes, scores, groups, _ = random_boxes(seed, 60)
    boxes, weights = boxes.double(), scores.double()
    members: list[list[int]] = []
    means: list[torch.Tensor] = []
    for index, box in enumerate(boxes):
        best, best_iou = -1, 0.5
        for number, mean in enumerate(means):
            iou = float(box_iou(mean[None], box[None]))
            if groups[members[number][0]] == groups[index] and iou > best_iou:
                best, best_iou = number, iou
        if best < 0:
            members.append([index])
            means.append(box)
        else:
            members[best].append(index)
            part = weights[members[best]]
            means[best] = (boxes[members[best]] * part[:, None]).sum(0) / part.sum()
    expected = torch.empty(60, dtype=torch.int64)
    for cluster in members:
        expected[cluster] = cluster[0]
    assert mean_clusters(boxes, weights, groups, 0.5).tolist() == expected.tolist()


def test_leader_of_a_box_is_never_a_later_one():
    # The second falls to the first; the third overlaps the second most, but came too late for it.
    boxes = torch.tensor([[0.0, 0, 10, 10], [2, 0, 12, 10], [3, 0, 13, 10]]).double()
    assert leader_clusters(boxes, torch.zeros(3, dtype=torch.int64), 0.6).tolist() == [0, 0, 2]


def test_sums_of_a_cluster_do_not_depend_on_the_others():
    generator = torch.Generator().manual_seed(0)
    cluster = torch.randint(0, 5, (50,), generator=generator)
    values = torch.randn(50, 2, generator=generator).double() * 1e6
    sums = Clusters(cluster).sums(values)
    for number in range(5):
        alone = Clusters(cluster[cluster == number]).sums(values[cluster == number])
        assert torch.equal(sums[number], alone[0])


def test_nothing_to_cluster():
    nothing = torch.zeros((0, 4)).double()
    none = torch.zeros(0, dtype=torch.int64)
    assert len(mean_clusters(nothing, nothing[:, 0], none, 0.5)) == 0
    assert len(leader_clusters(nothing, none, 0.5)) == 0
    assert len(Clusters(none)) == 0
