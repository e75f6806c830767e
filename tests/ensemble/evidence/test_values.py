"""Evidence of an image: its parts belong together, stacked or cut."""

from dataclasses import replace

import pytest
import torch

from cellseg.ensemble.evidence.values import stack_evidence
from cellseg.errors import InputError
from cellseg.structures import CropMasks


def test_the_first_boxes(random_evidence):
    evidence = random_evidence(0)
    part = evidence.first(2)
    assert len(part) == 2 and torch.equal(part.boxes, evidence.boxes[:2])
    assert torch.equal(part.evidence[1].crop(1), evidence.evidence[1].crop(1))
    assert torch.equal(part.confidence, evidence.confidence[:, :2])
    assert len(evidence.first(0)) == 0


def test_images_below_each_other(random_evidence):
    images = [random_evidence(seed, count=count) for seed, count in ((0, 4), (1, 0), (2, 5))]
    tall, tops = stack_evidence(images)
    assert tall.image_size == (120, 50) and tops.tolist() == [0, 40, 80, 120] and len(tall) == 9
    assert (tall.scores[:-1] >= tall.scores[1:]).all()
    for index in range(9):
        image = int(tall.boxes[index, 1] >= 40) + int(tall.boxes[index, 1] >= 80)
        own = images[image]
        (row,) = (own.scores == tall.scores[index]).nonzero()[:, 0].tolist()
        torch.testing.assert_close(tall.boxes[index, 1::2] - tops[image], own.boxes[row, 1::2])
        assert torch.equal(tall.evidence[2].crop(index), own.evidence[2].crop(row))
        assert torch.equal(tall.confidence[:, index], own.confidence[:, row])


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(scores=torch.ones(5)), "boxes, scores, labels, confidence should have shapes"),
        (dict(labels=torch.zeros(6, 1)), "boxes, scores, labels, confidence should have shapes"),
        (dict(boxes=torch.zeros(6, 3)), "boxes, scores, labels, confidence should have shapes"),
        (dict(confidence=torch.ones(2, 6)), "boxes, scores, labels, confidence should have shapes"),
        (dict(members=("a", "b")), "boxes, scores, labels, confidence should have shapes"),
        (dict(evidence=()), "evidence: expected that of 3 members, found 0"),
    ],
)
def test_parts_that_do_not_belong_together(random_evidence, change, message):
    with pytest.raises(InputError, match=message):
        replace(random_evidence(0), **change)


def test_evidence_in_other_windows(random_evidence):
    evidence, other = random_evidence(0), random_evidence(1)
    with pytest.raises(InputError, match="evidence: that of b is not in the windows of a"):
        replace(evidence, evidence=(evidence.evidence[0], other.evidence[1], evidence.evidence[2]))
    with pytest.raises(InputError, match="evidence: that of c is not in the windows of a"):
        replace(evidence, evidence=(*evidence.evidence[:2], CropMasks.empty((40, 50), torch.float32)))


def test_images_of_different_ensembles(random_evidence):
    with pytest.raises(InputError, match="evidence of different ensembles: members a, b, c for .* and a, b, d for"):
        stack_evidence([random_evidence(0), random_evidence(1, members=("a", "b", "d"))])
