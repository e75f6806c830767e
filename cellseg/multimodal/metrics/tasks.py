"""Scores of each task, from a model's predictions and what is true."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cellseg.multimodal.data.description import DataDescription
from cellseg.multimodal.metrics.answers import vqa_accuracy
from cellseg.multimodal.metrics.bleu import bleu
from cellseg.multimodal.metrics.cider import cider_d
from cellseg.multimodal.metrics.classes import accuracy, label_accuracy, macro_f1, macro_label_f1, roc_auc
from cellseg.multimodal.metrics.regression import regression_scores
from cellseg.multimodal.metrics.retrieval import retrieval_scores, true_pairs
from cellseg.multimodal.metrics.rouge import rouge_l
from cellseg.multimodal.metrics.words import caption_words

Rows = Sequence[tuple[Mapping[str, Any], Any]]


def score_task(task: str, rows: Rows, description: DataDescription) -> dict[str, float]:
    """Scores of one task.

    Args:
        task: one of ``data.record.TASKS``.
        rows: prediction of a head and truth of every sample, in the forms that ``SampleMaker.make`` and heads give.
        description: of the data.

    Returns:
        By ``TASK_SCORE``; larger is better for all but ``mae`` and ``rmse``.

        - classification (and domain, environment): ``accuracy``, ``macro_f1``; of two classes also ``auc``, where both
          occur.
        - multilabel: ``accuracy`` (of all labels), ``macro_f1``.
        - regression: ``mae``, ``rmse``, ``r2``.
        - vqa: ``accuracy``, and ``official``, its leave-one-out form.
        - captioning: ``bleu1`` to ``bleu4``, ``cider``, ``rouge``.
        - matching: ``accuracy`` at a probability of 0.5, ``auc``; with embeddings ``embedding_image_to_text_top1`` and
          so on; where every picture met every text, ``image_to_text_top1`` and so on by the probability.
    """
    scores = _SCORERS.get(task, _score_classes)(rows, description)
    return {f"{task}_{name}": value for name, value in scores.items() if value is not None}


def captions_of(rows: Rows, description: DataDescription) -> tuple[list[str], list[list[str]]]:
    """Written and true captions of the task ``captioning`` as texts; arguments as ``score_task``."""
    tokenizer = description.words()
    return [tokenizer.decode(prediction["tokens"]) for prediction, _ in rows], [list(true) for _, true in rows]


def _score_classes(rows: Rows, description: DataDescription) -> dict[str, float | None]:
    found, true = [prediction["label"] for prediction, _ in rows], [label for _, label in rows]
    scores: dict[str, float | None] = {"accuracy": accuracy(found, true), "macro_f1": macro_f1(found, true)}
    if len(rows[0][0]["probabilities"]) == 2:
        second = [prediction["probabilities"][1] for prediction, _ in rows]
        scores["auc"] = roc_auc(second, [label == 1 for label in true])
    return scores


def _score_labels(rows: Rows, description: DataDescription) -> dict[str, float]:
    found = np.array([prediction["probabilities"] for prediction, _ in rows]) >= 0.5
    true = np.array([labels for _, labels in rows])
    return {"accuracy": label_accuracy(found, true), "macro_f1": macro_label_f1(found, true)}


def _score_numbers(rows: Rows, description: DataDescription) -> dict[str, float]:
    return regression_scores(
        np.array([prediction["value"] for prediction, _ in rows]), np.array([numbers for _, numbers in rows])
    )


def _score_answers(rows: Rows, description: DataDescription) -> dict[str, float]:
    found = [description.answers[prediction["answer"]] for prediction, _ in rows]
    given = [answers for _, answers in rows]
    return {
        "accuracy": float(np.mean(vqa_accuracy(found, given))),
        "official": float(np.mean(vqa_accuracy(found, given, leave_one_out=True))),
    }


def _score_captions(rows: Rows, description: DataDescription) -> dict[str, float]:
    written, true = captions_of(rows, description)
    hypotheses = [caption_words(text) for text in written]
    references = [[caption_words(text) for text in row] for row in true]
    scores = {f"bleu{index + 1}": value for index, value in enumerate(bleu(hypotheses, references))}
    scores["cider"] = float(np.mean(cider_d(hypotheses, references)))
    scores["rouge"] = float(np.mean(rouge_l(hypotheses, references)))
    return scores


def _score_pairs(rows: Rows, description: DataDescription) -> dict[str, float | None]:
    probabilities, labels = [prediction["probability"] for prediction, _ in rows], [true["label"] for _, true in rows]
    scores: dict[str, float | None] = {
        "accuracy": accuracy([int(value >= 0.5) for value in probabilities], labels),
        "auc": roc_auc(probabilities, [label == 1 for label in labels]),
    }
    images, texts = (list(dict.fromkeys(true[name] for _, true in rows)) for name in ("image", "text"))
    known = [(true["image"], true["text"]) for _, true in rows if true["label"]]
    known += [(true["image"], caption) for _, true in rows for caption in true["captions"]]
    right = true_pairs(images, texts, known)
    if not right.any():
        return scores
    embedded = _embedding_similarity(rows, images, texts)
    if embedded is not None:
        scores |= {f"embedding_{name}": value for name, value in retrieval_scores(embedded, right).items()}
    said = {(true["image"], true["text"]): prediction["probability"] for prediction, true in rows}
    if len(said) == len(images) * len(texts):
        similarity = torch.tensor([[said[image, text] for text in texts] for image in images])
        scores |= retrieval_scores(similarity, right)
    return scores


def _embedding_similarity(rows: Rows, images: Sequence[str], texts: Sequence[str]) -> Tensor | None:
    """Products of the embeddings ``[I, T]``; None where a picture or text has none."""
    found: dict[str, dict[str, Sequence[float]]] = {"image": {}, "text": {}}
    for prediction, true in rows:
        for name, by_content in found.items():
            if name in prediction.get("embeddings", {}):
                by_content.setdefault(true[name], prediction["embeddings"][name])
    if len(found["image"]) < len(images) or len(found["text"]) < len(texts):
        return None
    pictures, words = ([found[name][key] for key in keys] for name, keys in (("image", images), ("text", texts)))
    return torch.tensor(pictures) @ torch.tensor(words).T


_SCORERS: dict[str, Callable[[Rows, DataDescription], Mapping[str, float | None]]] = {
    "multilabel": _score_labels,
    "regression": _score_numbers,
    "vqa": _score_answers,
    "captioning": _score_captions,
    "matching": _score_pairs,
}
