"""The vote against its formula, written out for dense arrays."""

import math

import numpy as np
import pytest
import torch

from cellseg.ensemble import vote
from cellseg.errors import InputError
from cellseg.structures import CropMasks


def reference(evidence, confidence, weights, exponent):
    """V[i, y, x], one pixel after another."""
    dense = [masks.to_dense().double().numpy() for masks in evidence]
    count, height, width = dense[0].shape
    weights = np.broadcast_to(np.asarray(weights, float).reshape(len(dense), -1), (len(dense), count))
    exponent = np.broadcast_to(np.asarray(exponent, float), (count,))
    result = np.zeros((count, height, width))
    for i in range(count):
        parts = [weights[m, i] * float(confidence[m, i]) ** exponent[i] for m in range(len(dense))]
        if sum(parts) > 0:
            for y in range(height):
                for x in range(width):
                    result[i, y, x] = sum(p * d[i, y, x] for p, d in zip(parts, dense, strict=True)) / sum(parts)
    return result


@pytest.mark.parametrize("exponent", [0.0, 1.0, 0.37, [0.0, 2.0, 1.0, 0.5, 3.0]])
@pytest.mark.parametrize("weights", [[1.0, 2.0, 0.5], [0.0, 1.0, 0.0], "each"])
def test_vote(random_evidence, weights, exponent):
    evidence = random_evidence(1, count=5, size=(20, 25))
    confidence = evidence.confidence.clone()
    confidence[0, 1] = 0
    confidence[:, 2] = 0
    if weights == "each":
        weights = torch.rand(3, 5, generator=torch.Generator().manual_seed(0)).tolist()
    votes = vote(evidence.evidence, confidence, torch.tensor(weights), torch.tensor(exponent))
    assert torch.equal(votes.windows, evidence.evidence[0].windows)
    expected = reference(evidence.evidence, confidence, weights, exponent)
    np.testing.assert_allclose(votes.to_dense().numpy(), expected, atol=1e-6)


def test_nobody_is_confident(random_evidence):
    evidence = random_evidence(1)
    silent = torch.zeros_like(evidence.confidence)
    assert not vote(evidence.evidence, silent, torch.ones(3), 1.0).values.any()
    # With the exponent 0 confidences do not count at all.
    counted = vote(evidence.evidence, silent, torch.ones(3), 0.0)
    mean = sum(masks.values for masks in evidence.evidence) / 3
    torch.testing.assert_close(counted.values, mean, rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_members_does_not_matter(random_evidence, seed):
    evidence, weights = random_evidence(seed), torch.tensor([1.0, 2.0, 3.0])
    first = vote(evidence.evidence, evidence.confidence, weights, 0.7)
    for order in ([2, 0, 1], [1, 0, 2]):
        second = vote([evidence.evidence[m] for m in order], evidence.confidence[order], weights[order], 0.7)
        torch.testing.assert_close(first.values, second.values, rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_instances_does_not_matter(random_evidence, seed):
    evidence = random_evidence(seed)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    first = vote(evidence.evidence, evidence.confidence, torch.ones(3))[order]
    second = vote([masks[order] for masks in evidence.evidence], evidence.confidence[:, order], torch.ones(3))
    assert torch.equal(first.values, second.values) and torch.equal(first.windows, second.windows)


def test_equal_members_vote_like_one(random_evidence):
    evidence = random_evidence(0)
    one = evidence.evidence[0]
    votes = vote([one] * 7, torch.rand(7, 6), torch.rand(7) + 0.1, 1.3)
    torch.testing.assert_close(votes.values, one.values, rtol=0, atol=1e-6)
    assert votes.values.max() <= 1


def test_a_weight_of_zero_removes_a_member(random_evidence):
    evidence = random_evidence(0)
    with_it = vote(evidence.evidence, evidence.confidence, torch.tensor([1.0, 0.0, 2.0]))
    without = vote(evidence.evidence[::2], evidence.confidence[::2], torch.tensor([1.0, 2.0]))
    assert torch.equal(with_it.values, without.values)


def test_certain_members_never_vote_above_one():
    windows = torch.tensor([[0, 0, 4, 4]])
    sure = CropMasks(windows, torch.ones(16), (4, 4))
    for members in range(1, 30):
        votes = vote([sure] * members, torch.rand(members, 1), torch.rand(members) + 0.01)
        assert votes.values.max() <= 1 and votes.values.min() > 0.99999


def test_no_instances():
    empty = CropMasks.empty((5, 6), torch.float32)
    assert len(vote([empty, empty], torch.zeros(2, 0), torch.ones(2))) == 0


WINDOW = torch.tensor([[0, 0, 2, 2]])
MASK = CropMasks(WINDOW, torch.full((4,), 0.5), (4, 4))
OTHER = CropMasks(WINDOW + 1, torch.full((4,), 0.5), (4, 4))
GOOD = dict(evidence=[MASK, MASK], confidence=torch.full((2, 1), 0.5), weights=torch.ones(2), exponent=1.0)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(evidence=[]), "expected the evidence of at least one member, got none"),
        (dict(evidence=[MASK, OTHER]), "the windows of member 1 are not those of member 0"),
        (dict(evidence=[MASK, MASK.threshold(0.1)]), "evidence of member 1: expected float32 probabilities"),
        (
            dict(evidence=[CropMasks(WINDOW, torch.tensor([0.1, math.nan, 0.2, 0.3]), (4, 4)), MASK]),
            "evidence of member 0: expected probabilities in 0..1, found nan to nan",
        ),
        (
            dict(evidence=[MASK, CropMasks(WINDOW, torch.tensor([0.1, 1.2, 0.2, 0.3]), (4, 4))]),
            "evidence of member 1: expected probabilities in 0..1, found 0.1 to 1.2",
        ),
        (dict(confidence=torch.ones(1, 2)), "confidence should have shape [2, 1], found [1, 2]"),
        (dict(confidence=torch.tensor([[0.5], [math.nan]])), "confidence should lie in 0..1, found nan"),
        (dict(confidence=torch.tensor([[0.5], [-0.5]])), "confidence should lie in 0..1, found -0.5"),
        (dict(weights=torch.ones(3)), "weights should have shape [2] or [2, 1], found [3]"),
        (dict(weights=torch.tensor([1.0, -1.0])), "weights should be finite and 0 or more"),
        (dict(weights=torch.tensor([1.0, math.inf])), "weights should be finite and 0 or more"),
        (dict(exponent=torch.ones(2)), "exponent should be a number or have shape [1], found [2]"),
        (dict(exponent=-1.0), "exponent should be finite and 0 or more"),
        (dict(exponent=math.nan), "exponent should be finite and 0 or more"),
    ],
)
def test_bad_input(change, message):
    with pytest.raises(InputError) as caught:
        vote(**{**GOOD, **change})
    assert message in str(caught.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_gives_the_same(random_evidence):
    evidence = random_evidence(0, count=50, size=(100, 100))
    on_cpu = vote(evidence.evidence, evidence.confidence, torch.ones(3))
    on_cuda = vote([masks.to("cuda") for masks in evidence.evidence], evidence.confidence.cuda(), torch.ones(3))
    torch.testing.assert_close(on_cpu.values, on_cuda.values.cpu(), rtol=0, atol=1e-6)
