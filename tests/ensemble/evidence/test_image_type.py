"""The type of an image, voted by the members."""

import pytest
import torch

from cellseg.ensemble.evidence.image_type import vote_type


def boxes(*pairs):
    """Scores and labels of ``(count, score, label)``."""
    scores = torch.cat([torch.full((count,), score) for count, score, _ in pairs] or [torch.zeros(0)])
    labels = torch.cat([torch.full((count,), label) for count, _, label in pairs] or [torch.zeros(0).long()])
    return scores, labels.long()


def plain(found, num_types):
    totals = [0.0] * num_types
    for scores, labels in found:
        own = [sum(float(s) ** 4 for s, k in zip(scores, labels, strict=True) if k == t) for t in range(num_types)]
        if sum(own):
            totals = [total + part / sum(own) for total, part in zip(totals, own, strict=True)]
    return totals.index(max(totals)) if any(totals) else None


@pytest.mark.parametrize("seed", range(20))
def test_plain_reference(seed):
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 6, (3,), generator=generator).tolist()
    found = [
        (torch.rand(count, generator=generator), torch.randint(0, 4, (count,), generator=generator)) for count in counts
    ]
    assert vote_type(found, 4) == plain(found, 4)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        # Many boxes that are hardly believed in do not outvote a few good ones.
        ([boxes((300, 0.15, 0), (8, 0.9, 1))], 1),
        # A member with many boxes has one vote, as the others have.
        ([boxes((500, 0.9, 0)), boxes((5, 0.6, 2)), boxes((5, 0.7, 2))], 2),
        # Members without boxes, or with boxes of score 0 alone, do not vote.
        ([boxes(), boxes((3, 0.0, 0)), boxes((1, 0.1, 1))], 1),
        ([boxes((2, 0.5, 1)), boxes((2, 0.5, 0))], 0),
        ([boxes(), boxes((3, 0.0, 2))], None),
        ([], None),
    ],
)
def test_votes(found, expected):
    assert vote_type(found, 3) == expected
