"""Accuracy of answers: by hand, and the official leave-one-out form written out."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellseg.errors import InputError
from cellseg.multimodal.metrics import vqa_accuracy

TEN = ["yes"] * 2 + ["no"] * 7 + ["maybe"]


@pytest.mark.parametrize(
    ("answer", "given_answers", "plain", "official"),
    [
        ("no", TEN, 1.0, 1.0),
        # Left out in turn: 2 of 10 times one "yes" is left (1/3), 8 times two (2/3).
        ("yes", TEN, 2 / 3, 2 / 10 * 1 / 3 + 8 / 10 * 2 / 3),
        ("maybe", TEN, 1 / 3, 9 / 10 * 1 / 3),
        ("blue", TEN, 0.0, 0.0),
        # Three of ten: 3 times two are left (2/3), 7 times three (1).
        ("red", ["red"] * 3 + ["x"] * 7, 1.0, 3 / 10 * 2 / 3 + 7 / 10),
        ("red", ["red"], 1.0, 1.0),
        ("blue", ["red"], 0.0, 0.0),
    ],
)
def test_by_hand(answer, given_answers, plain, official):
    assert vqa_accuracy([answer], [given_answers]) == pytest.approx([plain])
    assert vqa_accuracy([answer], [given_answers], leave_one_out=True) == pytest.approx([official])


@given(st.lists(st.sampled_from("abc"), min_size=2, max_size=10), st.sampled_from("abcd"))
def test_leaving_out_is_the_mean_over_all_choices_of_the_others(given_answers, answer):
    others = list(combinations(given_answers, len(given_answers) - 1))
    expected = sum(min(row.count(answer) / 3, 1) for row in others) / len(others)
    assert vqa_accuracy([answer], [given_answers], leave_one_out=True) == pytest.approx([expected])


@pytest.mark.parametrize(
    ("answers", "rows", "message"),
    [
        (["a"], [], "expected given answers to each of 1 questions, found 0"),
        (["a", "b"], [["a"], []], "question 2 has no given answer to compare with"),
    ],
)
def test_what_cannot_be_scored(answers, rows, message):
    with pytest.raises(InputError) as error:
        vqa_accuracy(answers, rows)
    assert str(error.value) == message
