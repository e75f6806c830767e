"""Baselines that look at nothing, or at the question alone."""

from cellseg.multimodal.comparison.baselines import baseline_predictions
from cellseg.multimodal.comparison.predictions import Row, SplitPredictions
from cellseg.multimodal.data import DataDescription, Record

ABOUT = DataDescription(
    tasks=("classification", "vqa"), modalities={}, class_names=("a", "b"), answers=("yes", "2", "3")
)


def question(number, text, *answers):
    return Record(f"r{number}", {"text": text}, {"vqa": answers})


TRAIN = [
    question(1, "How many cells?", "two"),
    question(2, "how many  cells?", "2"),
    question(3, "how many cells?", "3"),
    *[question(number, "is it round?", "yes") for number in range(4, 8)],
    question(8, "what is rare?", "unheard of"),
    Record("c1", {"text": "x"}, {"classification": "b"}),
    Record("c2", {"text": "x"}, {"classification": "b"}),
    Record("c3", {"text": "x"}, {"classification": "a"}),
]


def test_the_majority_and_the_answer_to_the_question():
    texts = ("how many cells?", "HOW many cells?", "is it new?", "what is rare?")
    asked = [Row(f"q{index}", "g", {"answer": 2}, ["yes"], text) for index, text in enumerate(texts)]
    shown = [Row("s", "g", {"label": 0}, 1, "x")]
    found = baseline_predictions(SplitPredictions(ABOUT, {"vqa": asked, "classification": shown}), TRAIN)
    assert list(found) == ["majority", "question only"]
    assert [row.prediction for row in found["majority"].rows["vqa"]] == [{"answer": 0}] * 4
    assert [row.prediction for row in found["majority"].rows["classification"]] == [{"label": 1}]
    # The last answer is none to choose from; then the most frequent one is given.
    assert [row.prediction["answer"] for row in found["question only"].rows["vqa"]] == [1, 1, 0, 0]
    assert [row.id for row in found["question only"].rows["vqa"]] == ["q0", "q1", "q2", "q3"]
    assert "classification" not in found["question only"].rows


def test_tasks_without_a_majority_have_no_baseline():
    rows = [Row("s", "g", {"tokens": []}, ["a cat"])]
    assert baseline_predictions(SplitPredictions(ABOUT, {"captioning": rows}), TRAIN) == {}
