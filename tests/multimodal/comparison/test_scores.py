"""Scores as sums over samples: equal to the metrics, in any order, and paired by sample."""

import itertools

import numpy as np
import pytest

from cellseg.errors import InputError
from cellseg.multimodal.comparison.predictions import Row, SplitPredictions
from cellseg.multimodal.comparison.scores import most_given, score_predictions
from cellseg.multimodal.data import DataDescription, WordPieceTokenizer
from cellseg.multimodal.metrics import score_task

RANDOM = np.random.default_rng(0)
TEXTS = ["a red cat sits", "a red dog sits here", "the blue cat", "two dogs run away", "a cat"]
WORDS = WordPieceTokenizer.train(TEXTS, 200)
ABOUT = DataDescription(
    tasks=("classification", "vqa", "captioning", "matching", "regression", "multilabel"),
    modalities={},
    class_names=("a", "b", "c"),
    label_names=("x", "y"),
    target_names=("p", "q"),
    answers=("yes", "no", "2"),
    tokenizer=WORDS.to_json(),
    max_length=12,
)


def rows_of(predictions, truths):
    pairs = enumerate(zip(predictions, truths, strict=True))
    return [Row(f"s{index}", f"g{index // 2}", prediction, truth) for index, (prediction, truth) in pairs]


def scored(task, rows, pairs=()):
    found = score_predictions(SplitPredictions(ABOUT, {task: rows}, pairs))[task]
    expected = score_task(task, [(row.prediction, row.truth) for row in pairs or rows], ABOUT)
    return found, {name.removeprefix(f"{task}_"): value for name, value in expected.items()}


def pair_rows(embedded):
    images, texts = [f"i{index}" for index in range(4)], [f"t{index}" for index in range(8)]
    vectors = {name: RANDOM.normal(size=3).tolist() for name in (*images, *texts)}
    rows = []
    for (place, image), (other, text) in itertools.product(enumerate(images), enumerate(texts)):
        prediction = {"probability": float(RANDOM.random())}
        if embedded:
            prediction["embeddings"] = {"image": vectors[image], "text": vectors[text]}
        truth = {"label": int(other // 2 == place), "image": image, "text": text, "captions": texts[2 * place :][:2]}
        rows.append(Row(f"{image}#{text}", image, prediction, truth))
    return rows


def test_classes_are_scored_as_by_the_metrics():
    predictions = [{"label": int(label), "probabilities": [0.3, 0.3, 0.4]} for label in RANDOM.integers(3, size=20)]
    found, expected = scored("classification", rows_of(predictions, RANDOM.integers(3, size=20).tolist()))
    assert {name: score.value for name, score in found.items()} == pytest.approx(expected)


def test_captions_are_scored_as_by_the_metrics():
    written = [
        {"tokens": WORDS.encode(text, 12)} for text in ("a red cat", "a dog sits here", "cat the", "", "two cat")
    ]
    truths = [[TEXTS[index], TEXTS[(index + 1) % 5]] for index in range(5)]
    found, expected = scored("captioning", rows_of(written, truths))
    assert set(found) == {"bleu1", "bleu2", "cider", "rouge"} and found["bleu2"].value > 0
    assert {name: score.value for name, score in found.items()} == pytest.approx(
        {name: expected[name] for name in found}
    )


def test_captions_without_a_word_score_nothing():
    found, _ = scored("captioning", rows_of([{"tokens": WORDS.encode("", 12)}] * 2, [["a cat"], ["a dog"]]))
    assert [score.value for score in found.values()] == [0, 0, 0, 0]


def test_answers_are_scored_as_by_the_metrics():
    predictions = [{"answer": answer, "probabilities": [1, 0, 0]} for answer in (0, 1, 2, 0, 1)]
    truths = [["yes"], ["no", "no", "yes"], ["yes"] * 3, ["maybe"], ["no"]]
    found, expected = scored("vqa", rows_of(predictions, truths))
    assert found["accuracy"].value == pytest.approx(expected["accuracy"])
    # yes: 1 right, 2 said, 2 true; no: 2, 2, 2; 2: said once; maybe: true once.
    assert found["macro_f1"].value == pytest.approx((2 / 4 + 4 / 4 + 0 + 0) / 4)
    assert most_given(["The two.", "2", "three", "3", "a 2"]) == "2" and most_given(["b", "a"]) == "a"


def test_a_kind_of_question_is_scored_on_its_own_rows_only():
    answered = [("count", 2, "2"), ("shape", 0, "yes"), ("", 1, "yes"), ("shape", 0, "no"), ("count", 2, "2")]
    rows = [
        Row(f"q{index}", f"g{index // 2}", {"answer": answer}, [truth], question_type=kind)
        for index, (kind, answer, truth) in enumerate(answered)
    ]
    found = score_predictions(SplitPredictions(ABOUT, {"vqa": rows}))["vqa"]
    assert list(found) == ["accuracy", "macro_f1", "accuracy:count", "accuracy:shape"]
    assert found["accuracy:count"].value == 1 and found["accuracy:shape"].value == 0.5
    assert found["accuracy"].value == pytest.approx(3 / 5)
    assert found["accuracy:count"].keys == ("q0", "q4") and found["accuracy:count"].groups == ("g0", "g2")
    assert found["accuracy:shape"].counts.tolist() == [[1, 1], [0, 1]]


def test_questions_without_kinds_keep_their_scores():
    found, _ = scored("vqa", rows_of([{"answer": 0}], [["yes"]]))
    assert list(found) == ["accuracy", "macro_f1"]


def test_numbers_and_labels_are_scored_as_by_the_metrics():
    truths = RANDOM.normal(size=(6, 2))
    truths[2, 1] = np.nan
    found, expected = scored(
        "regression", rows_of([{"value": row} for row in (truths + 0.5).tolist()], truths.tolist())
    )
    assert found["mae"].value == pytest.approx(0.5) and expected["mae"] == pytest.approx(0.5)
    # Known numbers are not equally many, nor are errors equally large; and one number is the same everywhere.
    found, expected = scored("regression", rows_of([{"value": row} for row in (truths**2).tolist()], truths.tolist()))
    assert {name: score.value for name, score in found.items()} == pytest.approx(expected) and expected["r2"] < 0.9
    same = np.where(np.isnan(truths), np.nan, [1e4 / 3, 1.0]) + [0.0, 1.0] * truths
    found, expected = scored("regression", rows_of([{"value": [1.0, 2.0]}] * 6, same.tolist()))
    assert {name: score.value for name, score in found.items()} == pytest.approx(expected)
    labels = RANDOM.integers(2, size=(9, 2)).astype(float)
    labels[4, 0] = np.nan
    predictions = [{"probabilities": row} for row in RANDOM.random((9, 2)).tolist()]
    found, expected = scored("multilabel", rows_of(predictions, labels.tolist()))
    assert {name: score.value for name, score in found.items()} == pytest.approx(expected)


def test_a_search_is_scored_by_embeddings_or_by_all_pairs():
    rows = pair_rows(embedded=True)
    found, expected = scored("matching", rows)
    ways = [f"{way}_top{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5)]
    assert {name: found[name].value for name in ways} == pytest.approx(
        {name: expected[f"embedding_{name}"] for name in ways}
    )
    pairs = pair_rows(embedded=False)
    found, expected = scored("matching", rows[:9], pairs)
    assert {name: found[name].value for name in ways} == pytest.approx({name: expected[name] for name in ways})
    assert found["text_to_image_top1"].groups == tuple(f"i{index // 2}" for index in range(8))
    assert len(found["accuracy"].keys) == 9
    found, _ = scored("matching", pairs[:9])
    assert list(found) == ["accuracy"]


def test_samples_are_paired_by_their_names():
    truths = RANDOM.integers(3, size=6).tolist()
    rows = rows_of([{"label": index % 3, "probabilities": [0, 0, 1]} for index in range(6)], truths)
    first, other = (score_predictions(SplitPredictions(ABOUT, {"classification": part})) for part in (rows, rows[::-1]))
    one, turned = (each["classification"]["accuracy"] for each in (first, other))
    assert np.array_equal(turned.in_order_of(one, "x"), one.counts)
    short = score_predictions(SplitPredictions(ABOUT, {"classification": rows[:5]}))["classification"]["accuracy"]
    with pytest.raises(InputError, match="x: was scored on other samples than the first; compare models of one data s"):
        short.in_order_of(one, "x")
