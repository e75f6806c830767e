"""Answers: one form for all spellings, which ones there are to choose from, soft scores."""

import pytest

from cellseg.multimodal.data.answers import collect_answers, normalise_answer, soft_scores


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The two dogs.", "2 dogs"),
        ("  YES ", "yes"),
        ("none", "0"),
        ("a", "a"),
        ("The", "the"),
        ("1,000", "1000"),
        ("3.5 m.", "3.5 m"),
        ("about .5 m", "about .5 m"),
        ("t-shirt", "t shirt"),
        ("red, white/blue", "red white blue"),
        ("man's hat", "man's hat"),
        ("10:30", "10:30"),
        ("<5 %", "<5 %"),
        ("seventeen", "seventeen"),
    ],
)
def test_spellings(text, plain):
    assert normalise_answer(text) == plain


def test_answers_to_choose_from():
    rows = [["yes", "Yes.", "no"], ["2"], ["two", "blue"], ["no", "red"]]
    assert collect_answers(rows, 10) == ("2", "no", "yes", "blue", "red")
    assert collect_answers(rows, 2) == ("2", "no")


@pytest.mark.parametrize(
    ("given", "scores"),
    [
        (["Yes."], [1.0, 0.0, 0.0]),
        (["unheard of"], [0.0, 0.0, 0.0]),
        (["yes", "yes", "no"], [2 / 3, 1 / 3, 0.0]),
        (["yes"] * 5 + ["no"] * 3 + ["2", "two"], [1.0, 1.0, 2 / 3]),
    ],
)
def test_soft_scores(given, scores):
    assert soft_scores(given, ("yes", "no", "2")) == pytest.approx(scores)
