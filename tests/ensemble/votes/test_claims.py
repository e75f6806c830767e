"""Claims against a walk over all pixels."""

import numpy as np
import pytest
import torch

from cellseg.ensemble import claim_pixels
from cellseg.ensemble.votes import claims
from cellseg.ensemble.votes.claims import POLICIES
from cellseg.errors import InputError
from cellseg.structures import CropMasks


def reference(votes, scores, threshold, policy):
    dense = votes.to_dense().numpy()
    threshold = np.broadcast_to(np.asarray(threshold, np.float32), (len(dense),))
    wanted = dense > threshold[:, None, None]
    result = np.zeros_like(wanted)
    for y in range(dense.shape[1]):
        for x in range(dense.shape[2]):
            best, best_key = None, None
            for i in np.flatnonzero(wanted[:, y, x]):
                key = {
                    "probability": dense[i, y, x],
                    "probability_score": dense[i, y, x] * np.float32(scores[i]),
                    "score": scores[i],
                    "small_first": -wanted[i].sum(),
                }[policy]
                if best is None or key > best_key:
                    best, best_key = i, key
            if best is not None:
                result[best, y, x] = True
    return result


@pytest.mark.parametrize("threshold", [0.5, "each"])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(5))
def test_claims(random_evidence, policy, seed, threshold, monkeypatch):
    evidence = random_evidence(seed, count=12, size=(30, 36))
    votes = evidence.evidence[0]
    # Coarse votes and scores, so that there are ties to break.
    votes = CropMasks(votes.windows, (votes.values * 4).round() / 4, votes.image_size)
    scores = (evidence.scores * 3).round() / 3
    if threshold == "each":
        threshold = torch.linspace(0.2, 0.8, 12)
    expected = reference(votes, scores.numpy(), threshold, policy)
    claimed = claim_pixels(votes, scores, threshold, policy)
    assert torch.equal(claimed.windows, votes.windows)
    assert (claimed.to_dense().numpy() == expected).all()
    # An image too large for a table of its pixels takes another way to the same answer.
    monkeypatch.setattr(claims, "_MAX_TABLE_PIXELS", 0)
    assert torch.equal(claim_pixels(votes, scores, threshold, policy).values, claimed.values)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(10))
def test_pixels_are_never_claimed_twice(random_evidence, policy, seed):
    evidence = random_evidence(seed, count=20, size=(24, 24))
    claimed = claim_pixels(evidence.evidence[0], evidence.scores, 0.5, policy)
    assert not claimed.overlaps()
    wanted = evidence.evidence[0].threshold(0.5)
    assert (claimed.to_dense().any(0) == wanted.to_dense().any(0)).all()
    assert (wanted.values | ~claimed.values).all()


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_instances_does_not_matter(random_evidence, seed):
    evidence = random_evidence(seed, count=12, size=(30, 30))
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    for policy in ("probability", "probability_score", "score"):
        first = claim_pixels(evidence.evidence[0], evidence.scores, 0.5, policy)[order]
        second = claim_pixels(evidence.evidence[0][order], evidence.scores[order], 0.5, policy)
        assert torch.equal(first.values, second.values)


def test_nothing_to_claim():
    assert len(claim_pixels(CropMasks.empty((5, 5), torch.float32), torch.zeros(0), 0.5)) == 0
    low = CropMasks(torch.tensor([[0, 0, 2, 2]]), torch.full((4,), 0.5), (4, 4))
    assert not claim_pixels(low, torch.ones(1), 0.5).values.any()


@pytest.mark.parametrize(
    "scores, policy, message",
    [
        (
            torch.ones(1),
            "biggest",
            "claim policy 'biggest' is none of probability, probability_score, score, small_first",
        ),
        (torch.ones(2), "score", "scores should be finite and have shape [1], found [2]"),
        (torch.tensor([float("nan")]), "score", "scores should be finite"),
    ],
)
def test_bad_input(scores, policy, message):
    votes = CropMasks(torch.tensor([[0, 0, 2, 2]]), torch.full((4,), 0.5), (4, 4))
    with pytest.raises(InputError) as caught:
        claim_pixels(votes, scores, 0.5, policy)
    assert message in str(caught.value)
