"""Baselines that look at nothing, or at the question alone."""

import numpy as np
import pytest

from cellseg.multimodal.comparison.baselines import baseline_predictions
from cellseg.multimodal.comparison.predictions import Row, SplitPredictions
from cellseg.multimodal.data import DataDescription, Record, WordPieceTokenizer

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


def test_labels_have_a_majority_and_numbers_a_mean():
    about = DataDescription(
        tasks=("multilabel", "regression"),
        modalities={},
        label_names=("x", "y"),
        target_names=("p",),
        target_mean=(2.5,),
        target_std=(1.0,),
    )
    labels = [[1, 0], [1, np.nan], [0, 1], [1, 0]]
    train = [Record(f"r{place}", {"text": "t"}, {"multilabel": np.array(row)}) for place, row in enumerate(labels)]
    rows = {
        "multilabel": [Row("s", "g", {"probabilities": [0.1, 0.9]}, [0.0, 1.0])],
        "regression": [Row("s", "g", {"value": [9.0]}, [2.0])],
    }
    found = baseline_predictions(SplitPredictions(about, rows), train)
    assert list(found) == ["majority", "mean"]
    assert found["majority"].rows["multilabel"][0].prediction["probabilities"] == pytest.approx([3 / 4, 1 / 3])
    assert found["mean"].rows["regression"][0].prediction == {"value": [2.5]}
    assert "regression" not in found["majority"].rows and "multilabel" not in found["mean"].rows


def test_tasks_without_a_majority_have_no_baseline():
    rows = [Row("s", "g", {"probability": 0.5}, {"label": 1})]
    train = [Record("m", {"text": "a cat"}, {"matching": True})]
    assert baseline_predictions(SplitPredictions(ABOUT, {"matching": rows}), train) == {}


def test_of_captions_that_all_differ_none_is_the_most_frequent():
    texts = ["zebra runs", "Zebra walks.", "A dog sits", "Zebra walks"]
    train = [caption_of(number, "say it", text) for number, text in enumerate(texts)]
    words = WordPieceTokenizer.train(texts, 200)
    about = DataDescription(tasks=("captioning",), modalities={}, tokenizer=words.to_json(), max_length=9)
    predictions = SplitPredictions(about, {"captioning": [Row("s", "g", {"tokens": []}, ["?"], "say it")]})
    assert baseline_predictions(predictions, train[:3]) == {}
    # Spelling aside, two are the same.
    (row,) = baseline_predictions(predictions, train)["majority"].rows["captioning"]
    assert words.decode(row.prediction["tokens"]) == "zebra walks"


def caption_of(number, prompt, caption):
    return Record(f"c{number}", {"text": prompt}, {"captioning": caption})


def test_captions_have_a_majority_and_one_for_each_prompt():
    texts = [("how full?", "half full")] * 2 + [("How  full?", "quite full")] + [("which?", "red cells")] * 3
    train = [caption_of(number, *text) for number, text in enumerate(texts)]
    words = WordPieceTokenizer.train([text for pair in texts for text in pair], 200)
    about = DataDescription(tasks=("captioning",), modalities={}, tokenizer=words.to_json(), max_length=3)
    rows = [Row(prompt, "g", {"tokens": []}, ["?"], prompt) for prompt in ("HOW full?", "which?", "why?")]

    def said(train):
        found = baseline_predictions(SplitPredictions(about, {"captioning": rows}), train)
        return {
            name: [words.decode(row.prediction["tokens"]) for row in each.rows["captioning"]]
            for name, each in found.items()
        }

    # Captions are as long as those of the model may be.
    assert said(train) == {"majority": ["red"] * 3, "question only": ["half", "red", "red"]}
    assert list(said([one for one in train if one.inputs["text"] == "which?"])) == ["majority"]
