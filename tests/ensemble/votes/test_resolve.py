"""From evidence to instances, against all steps written out for dense masks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from cellseg.ensemble import SCHEMES, Calibration, EnsembleSettings, Settings, resolve, uniform_settings, vote
from cellseg.ensemble.votes.resolve import cast_votes
from cellseg.errors import InputError

MEMBERS, TYPES = ("a", "b", "c"), ("round", "long")


def reference(evidence, settings):
    """Masks and scores by the steps of the design, one after another, on dense arrays."""
    by_class = settings.by_class()
    mine = [by_class[label] for label in evidence.labels.tolist()]
    votes = []
    for i, one in enumerate(mine):
        parts = [one.weights[m] * float(evidence.confidence[k, i]) ** one.exponent for k, m in enumerate(MEMBERS)]
        dense = [masks[i : i + 1].to_dense()[0].double().numpy() for masks in evidence.evidence]
        total = sum(parts)
        votes.append(sum(p * d for p, d in zip(parts, dense, strict=True)) / total if total else dense[0] * 0)
    masks = [vote > one.mask_threshold for vote, one in zip(votes, mine, strict=True)]
    scores = [
        float(box) * vote[mask].mean() if mask.any() else 0.0
        for box, vote, mask in zip(evidence.scores, votes, masks, strict=True)
    ]
    order = sorted(
        (i for i in range(len(mine)) if masks[i].any() and scores[i] >= mine[i].score_threshold),
        key=lambda i: (-scores[i], i),
    )
    kept: list[int] = []
    for i in order:
        overlaps = [(masks[i] & masks[j]).sum() / (masks[i] | masks[j]).sum() for j in kept]
        if all(overlap <= mine[i].nms_iou for overlap in overlaps):
            kept.append(i)
    owner = np.full(evidence.image_size, -1)
    for y, x in np.ndindex(*evidence.image_size):
        askers = [i for i in kept if masks[i][y, x]]
        if askers:
            owner[y, x] = max(askers, key=lambda i: (votes[i][y, x], -kept.index(i)))
    largest = {i: part(owner == i, mine[i].largest_part) for i in kept}
    taken = np.any(list(largest.values()), axis=0) if kept else np.zeros(evidence.image_size, bool)
    final = {}
    for i in kept:
        filled = ndimage.binary_fill_holes(largest[i]) if mine[i].fill_holes else largest[i]
        final[i] = largest[i] | (filled & ~taken)
    kept = [i for i in kept if final[i].any() and final[i].sum() >= mine[i].min_area]
    return [final[i] for i in kept], [scores[i] for i in kept], [int(evidence.labels[i]) for i in kept]


def part(mask, wanted):
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    if not wanted or count < 2:
        return mask
    return labels == 1 + int(np.argmax(ndimage.sum_labels(mask, labels, range(1, count + 1))))


GENERAL = Settings(weights=dict(a=1.0, b=2.0, c=0.5), exponent=0.8, score_threshold=0.1, nms_iou=0.4)
CASES = {
    "uniform": uniform_settings(MEMBERS, TYPES, score_threshold=0.0),
    "weighted": EnsembleSettings(MEMBERS, TYPES, GENERAL),
    "strict": EnsembleSettings(
        MEMBERS, TYPES, replace(GENERAL, mask_threshold=0.7, score_threshold=0.3, nms_iou=0.05, min_area=25)
    ),
    "by type": EnsembleSettings(
        MEMBERS,
        TYPES,
        GENERAL,
        {
            "long": replace(
                GENERAL, weights=dict(a=0.0, b=0.0, c=1.0), mask_threshold=0.35, min_area=15, fill_holes=False
            )
        },
    ),
    "rough": EnsembleSettings(MEMBERS, TYPES, replace(GENERAL, largest_part=False, fill_holes=False, exponent=0.0)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", range(6))
def test_all_steps(random_evidence, seed, name):
    evidence = random_evidence(seed, count=14, size=(36, 40))
    instances = resolve(evidence, CASES[name])
    masks, scores, labels = reference(evidence, CASES[name])
    assert len(instances) == len(masks) > 0
    assert (instances.masks.to_dense().numpy() == np.stack(masks)).all()
    np.testing.assert_allclose(instances.scores.numpy(), scores, atol=1e-6)
    assert instances.labels.tolist() == labels
    for box, mask in zip(instances.boxes.tolist(), masks, strict=True):
        y, x = np.nonzero(mask)
        assert box == [x.min(), y.min(), x.max() + 1, y.max() + 1]


@pytest.mark.parametrize("policy", ["probability", "probability_score", "score", "small_first"])
@pytest.mark.parametrize("seed", range(5))
def test_results_are_apart_and_in_range(random_evidence, seed, policy):
    settings = replace(uniform_settings(MEMBERS, TYPES, score_threshold=0.0, nms_iou=1.0), claim=policy)
    instances = resolve(random_evidence(seed, count=20, size=(30, 30)), settings)
    assert not instances.masks.overlaps()
    assert ((instances.scores >= 0) & (instances.scores <= 1)).all()
    assert (instances.scores[:-1] >= instances.scores[1:]).all()


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_boxes_does_not_matter(random_evidence, seed):
    evidence = random_evidence(seed, count=14)
    order = torch.randperm(14, generator=torch.Generator().manual_seed(seed))
    other = replace(
        evidence,
        boxes=evidence.boxes[order],
        scores=evidence.scores[order],
        labels=evidence.labels[order],
        evidence=tuple(masks[order] for masks in evidence.evidence),
        confidence=evidence.confidence[:, order],
    )
    first, second = (resolve(one, CASES["weighted"]) for one in (evidence, other))
    assert first.to_dict() == second.to_dict()


def test_the_order_of_members_does_not_matter(random_evidence):
    evidence = random_evidence(0, count=14)
    other = replace(
        evidence,
        members=("c", "a", "b"),
        evidence=evidence.evidence[2:] + evidence.evidence[:2],
        confidence=evidence.confidence[[2, 0, 1]],
    )
    first, second = (resolve(one, CASES["weighted"]) for one in (evidence, other))
    assert first.masks.to_rle() == second.masks.to_rle()
    torch.testing.assert_close(first.scores, second.scores, rtol=0, atol=1e-6)


def test_no_boxes(random_evidence):
    instances = resolve(random_evidence(0, count=0), CASES["weighted"])
    assert len(instances) == 0 and instances.class_names == TYPES


def test_nothing_passes(random_evidence):
    strict = uniform_settings(MEMBERS, TYPES, score_threshold=1.0)
    assert len(resolve(random_evidence(0), strict)) == 0


@pytest.mark.parametrize("scheme", SCHEMES)
def test_schemes_and_calibration_reach_the_vote(random_evidence, scheme):
    evidence = random_evidence(2, count=14)
    lines = {"a": Calibration(0.3, 2.0), "c": Calibration(2.0, -1.0)}
    settings = replace(CASES["by type"], vote=scheme, calibration=lines)
    a, b, c = evidence.confidence
    confidence = torch.stack([lines["a"].apply(a), b, lines["c"].apply(c)])
    weights = torch.tensor([[1 / 3.5, 0], [2 / 3.5, 0], [0.5 / 3.5, 1]])[:, evidence.labels]
    expected = vote(evidence.evidence, confidence, weights, 0.8, scheme)
    torch.testing.assert_close(cast_votes(evidence, settings).values, expected.values, rtol=0, atol=1e-6)


def test_settings_for_other_evidence(random_evidence):
    evidence = random_evidence(0)
    with pytest.raises(InputError, match="the evidence lacks d, which the settings give a weight"):
        resolve(evidence, uniform_settings(("a", "b", "c", "d"), TYPES))
    with pytest.raises(InputError, match="the evidence has b, c, which the settings do not know"):
        resolve(evidence, uniform_settings(("a",), TYPES))
    with pytest.raises(InputError, match="evidence is for the types"):
        resolve(evidence, uniform_settings(MEMBERS, ("round", "square")))
