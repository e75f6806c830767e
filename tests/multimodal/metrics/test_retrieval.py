"""Searching: Top-k both ways, equal captions, ties."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cellseg.errors import InputError
from cellseg.multimodal.metrics import retrieval_scores, top_k, true_pairs

SIMILARITY = torch.tensor([[0.9, 0.1, 0.8], [0.7, 0.2, 0.6], [0.1, 0.2, 0.3]])


@pytest.mark.parametrize(("k", "share"), [(1, 2 / 3), (2, 2 / 3), (3, 1.0)])
def test_the_right_one_among_the_first(k, share):
    # Ranks of the diagonal: 1, 3, 1.
    assert top_k(SIMILARITY, torch.eye(3, dtype=torch.bool), k) == pytest.approx(share)


def test_any_right_candidate_counts_and_others_do_not_stand_in_its_way():
    right = torch.tensor([[False, True, True], [True, True, False], [False, False, False]])
    # First: the 0.8 is right, only 0.9 is before it. Second: 0.7 is right. Third: asks for nothing.
    assert top_k(SIMILARITY, right, 1) == 0.5 and top_k(SIMILARITY, right, 2) == 1.0


def test_a_model_that_says_the_same_of_everything_finds_nothing():
    same = torch.full((4, 4), 0.3)
    assert top_k(same, torch.eye(4, dtype=torch.bool), 1) == 0.0
    assert top_k(same, torch.eye(4, dtype=torch.bool), 3) == 0.0
    assert top_k(same, torch.eye(4, dtype=torch.bool), 4) == 1.0


def plain_top_k(similarity, right, k):
    found = asked = 0
    for row, wanted in zip(similarity, right, strict=True):
        if not any(wanted):
            continue
        asked += 1
        wrong = [value for value, good in zip(row, wanted, strict=True) if not good]
        good = [value for value, good in zip(row, wanted, strict=True) if good]
        found += any(sum(other >= value for other in wrong) < k for value in good)
    return found / asked


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 4), st.integers(0, 1000))
def test_it_equals_counting_one_by_one(queries, candidates, k, seed):
    generator = torch.Generator().manual_seed(seed)
    similarity = torch.randint(5, (queries, candidates), generator=generator).float()
    right = torch.rand(queries, candidates, generator=generator) < 0.4
    right[0, 0] = True
    assert top_k(similarity, right, k) == pytest.approx(plain_top_k(similarity.tolist(), right.tolist(), k))


def test_a_text_of_two_pictures_is_true_of_both():
    right = true_pairs(["a", "b"], ["x", "y"], [("a", "x"), ("b", "x"), ("b", "y"), ("c", "x"), ("a", "z")])
    assert right.tolist() == [[True, False], [True, True]]


def test_both_ways():
    right = torch.eye(3, dtype=torch.bool)
    # By column: the diagonal is the 1st of (0.9, 0.7, 0.1), of (0.1, 0.2, 0.2) tied with a wrong one, and the last.
    assert retrieval_scores(SIMILARITY, right) == {
        "image_to_text_top1": pytest.approx(2 / 3),
        "image_to_text_top5": 1.0,
        "text_to_image_top1": pytest.approx(1 / 3),
        "text_to_image_top5": 1.0,
    }


@pytest.mark.parametrize(
    ("similarity", "right", "message"),
    [
        (torch.ones(2, 3), torch.ones(3, 2, dtype=torch.bool), r"expected \[Q, C\] twice, found \[2, 3\] and \[3, 2\]"),
        (torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.bool), "no query has a right candidate"),
    ],
)
def test_what_cannot_be_searched(similarity, right, message):
    with pytest.raises(InputError, match=message):
        top_k(similarity, right, 1)
