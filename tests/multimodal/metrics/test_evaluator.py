"""The evaluator: from predictions and samples to the scores of every task."""

import json

import pytest
from mmengine.registry import METRICS

from cellseg.errors import InputError
from cellseg.multimodal.data.description import DataDescription, ModalityDescription
from cellseg.multimodal.data.tokenizer import END, WordPieceTokenizer
from cellseg.multimodal.metrics import evaluator as evaluator_module
from cellseg.multimodal.metrics.evaluator import TaskScores
from cellseg.multimodal.metrics.tasks import score_task

WORDS = WordPieceTokenizer.train(["a red dog runs fast", "two blue birds fly away"], 100)
ABOUT = DataDescription(
    tasks=("classification", "captioning"),
    modalities={"text": ModalityDescription("text")},
    class_names=("a", "b"),
    answers=("yes", "no"),
    tokenizer=WORDS.to_json(),
    max_length=10,
)


def evaluate(predictions, **options):
    metric = TaskScores(**options)
    metric.dataset_meta = json.loads(json.dumps({"description": ABOUT.to_dict()}))
    # In two batches, as a loop gives them.
    metric.process(None, predictions[:1])
    metric.process(None, predictions[1:])
    return metric.compute_metrics(metric.results)


def predicted(truth, **answers):
    return {**answers, "sample": {"id": "x", "truth": truth}}


def labelled(label, second):
    return {"label": label, "probabilities": [1 - second, second]}


def written(text):
    return {"tokens": [*WORDS.encode(text)[1:-1], END, 7, 7], "score": -1.0}


def test_classes_and_captions_of_a_mixed_set():
    scores = evaluate(
        [
            predicted({"classification": 1}, classification=labelled(1, 0.8), captioning=written("x")),
            predicted({"classification": 0}, classification=labelled(1, 0.7), captioning=written("x")),
            predicted(
                {"captioning": ["A red dog runs fast."]},
                classification=labelled(0, 0.1),
                captioning=written("a red dog runs fast"),
            ),
            predicted(
                {"captioning": ["Two blue birds fly away.", "birds"]},
                classification=labelled(0, 0.1),
                captioning=written("two blue birds fly away"),
            ),
        ]
    )
    assert scores["classification_accuracy"] == 0.5 and scores["classification_auc"] == 1.0
    assert scores["captioning_bleu4"] == pytest.approx(1.0) and scores["captioning_rouge"] == pytest.approx(1.0)
    # All n-grams are right; against the second caption of the second picture there is "birds" alone.
    assert 7.5 < scores["captioning_cider"] < 10
    assert set(scores) == {
        *(f"classification_{name}" for name in ("accuracy", "macro_f1", "auc")),
        *(f"captioning_{name}" for name in ("bleu1", "bleu2", "bleu3", "bleu4", "cider", "rouge")),
    }


def test_answers():
    rows = [({"answer": 0, "probabilities": []}, ["yes"] * 2 + ["no"] * 8), ({"answer": 1}, ["no"])]
    scores = score_task("vqa", rows, ABOUT)
    assert scores == {"vqa_accuracy": pytest.approx((2 / 3 + 1) / 2), "vqa_official": pytest.approx((0.6 + 1) / 2)}


def test_labels_and_numbers():
    rows = [({"probabilities": [0.5, 0.2]}, [1.0, 1.0]), ({"probabilities": [0.4, 0.9]}, [0.0, 1.0])]
    assert score_task("multilabel", rows, ABOUT)["multilabel_accuracy"] == 0.75
    rows = [({"value": [1.0]}, [2.0]), ({"value": [5.0]}, [4.0])]
    assert score_task("regression", rows, ABOUT)["regression_mae"] == 1.0


def test_one_class_alone_has_no_area():
    assert set(score_task("classification", [(labelled(1, 0.8), 1)], ABOUT)) == {
        "classification_accuracy",
        "classification_macro_f1",
    }


def pair(picture, words, probability, label, captions=(), **embeddings):
    truth = {"label": label, "image": picture, "text": words, "captions": list(captions)}
    return {"probability": probability, "embeddings": embeddings}, truth


def test_matching_of_sampled_pairs():
    rows = [pair("a", "x", 0.9, 1), pair("a", "y", 0.6, 0), pair("b", "y", 0.7, 1)]
    scores = score_task("matching", rows, ABOUT)
    # Not every picture met every text, and there are no embeddings: nothing to search by.
    assert scores == {"matching_accuracy": pytest.approx(2 / 3), "matching_auc": 1.0}


def test_matching_by_embeddings():
    # The text x lies nearer to the picture b, y nearer to b too.
    rows = [
        pair("a", "x", 0.9, 1, image=[1.0, 0.0], text=[0.6, 0.8]),
        pair("b", "y", 0.9, 1, image=[0.0, 1.0], text=[0.0, 1.0]),
    ]
    scores = score_task("matching", rows, ABOUT)
    assert scores["matching_embedding_image_to_text_top1"] == 1.0
    assert scores["matching_embedding_text_to_image_top1"] == 0.5
    assert scores["matching_embedding_text_to_image_top5"] == 1.0
    # Where x is known to be true of b as well, finding b is right.
    rows[1] = pair("b", "y", 0.9, 1, ["y", "x"], image=[0.0, 1.0], text=[0.0, 1.0])
    assert score_task("matching", rows, ABOUT)["matching_embedding_text_to_image_top1"] == 1.0


def test_matching_by_the_probability_of_all_pairs():
    said = {("a", "x"): 0.9, ("a", "y"): 0.2, ("b", "x"): 0.95, ("b", "y"): 0.5}
    rows = [
        pair(image, text, value, int((image, text) in {("a", "x"), ("b", "y")}))
        for (image, text), value in said.items()
    ]
    scores = score_task("matching", rows, ABOUT)
    assert scores["matching_image_to_text_top1"] == 0.5 and scores["matching_text_to_image_top1"] == 0.5
    assert scores["matching_image_to_text_top5"] == 1.0


def test_meteor_only_where_asked(monkeypatch):
    asked = []
    monkeypatch.setattr(evaluator_module, "meteor", lambda *texts: asked.append(texts) or 0.5)
    rows = [predicted({"captioning": ["A red dog."]}, captioning=written("a red dog"))]
    assert "captioning_meteor" not in evaluate(rows) and not asked
    assert evaluate(rows, meteor=True)["captioning_meteor"] == 0.5
    assert asked == [(["a red dog"], [["A red dog."]])]


def test_a_model_without_a_head_for_the_data():
    with pytest.raises(InputError, match="the model has no head for a task of the validation samples; name heads as"):
        evaluate([predicted({"classification": 1}, age={"value": [3]})])


def test_configs_can_name_it():
    assert METRICS.get("TaskScores") is TaskScores
