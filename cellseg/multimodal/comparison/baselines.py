"""What answers are worth that look at nothing, or at the question alone."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cellseg.multimodal.comparison.predictions import Row, SplitPredictions
from cellseg.multimodal.comparison.scores import most_given
from cellseg.multimodal.data import Record
from cellseg.multimodal.data.description import NAMES_OF_TASK
from cellseg.multimodal.data.record import plain_text
from cellseg.multimodal.metrics import caption_words

MAJORITY = "majority"
QUESTION_ONLY = "question only"
MEAN = "mean"
# What is answered with a text that follows from another.
_TEXT_TASKS = ("vqa", "captioning")


def baseline_predictions(predictions: SplitPredictions, train: Sequence[Record]) -> dict[str, SplitPredictions]:
    """What simple baselines answer to the samples that a model answered.

    - ``majority``: the class, the answer, the caption (if any comes twice), or the value of each label, that the
      training has most often;
    - ``mean``, of regression: the mean of each number in the training;
    - ``question only``, of vqa and of captions that reply to different prompts: what the training answers most often
      to that very question or prompt, or the majority where it has not been asked there.

    Args:
        predictions: of any model of this data.
        train: the records of its training.

    Returns:
        By name; a baseline that knows none of the tasks is left out.
    """
    majority = {task: _majority(task, rows, predictions, train) for task, rows in predictions.rows.items()}
    asked = {task: _question_only(task, rows, predictions, train) for task, rows in predictions.rows.items()}
    mean = {"value": list(predictions.description.target_mean)}
    means = {
        task: [replace(row, prediction=mean) for row in rows]
        for task, rows in predictions.rows.items()
        if task == "regression"
    }
    found = {MAJORITY: majority, QUESTION_ONLY: asked, MEAN: means}
    known = {name: {task: rows for task, rows in each.items() if rows} for name, each in found.items()}
    return {name: SplitPredictions(predictions.description, each) for name, each in known.items() if each}


def _majority(task: str, rows: Sequence[Row], predictions: SplitPredictions, train: Sequence[Record]) -> list[Row]:
    if task in _TEXT_TASKS:
        said = _said(task, train)
        return _say(task, rows, [_first(said)] * len(rows), predictions) if _repeats(task, said) else []
    if task == "multilabel":
        known = np.array([record.targets[task] for record in train if task in record.targets], np.float64)
        often = np.nanmean(known, axis=0)
        return [replace(row, prediction={"probabilities": often.tolist()}) for row in rows]
    if task not in NAMES_OF_TASK:
        return []
    names = predictions.description.names_of(task)
    label = names.index(_first([record.targets[task] for record in train if task in record.targets]))
    return [replace(row, prediction={"label": label}) for row in rows]


def _question_only(task: str, rows: Sequence[Row], predictions: SplitPredictions, train: Sequence[Record]) -> list[Row]:
    if task not in _TEXT_TASKS:
        return []
    by_question = defaultdict(list)
    for record in (record for record in train if task in record.targets):
        by_question[plain_text(record.inputs.get("text", ""))].extend(_said(task, [record]))
    said = _said(task, train)
    if task == "captioning" and (len(by_question) < 2 or not _repeats(task, said)):
        # One prompt for all tells nothing.
        return []
    usual = _first(said)
    best = {question: _first(replies) for question, replies in by_question.items()}
    return _say(task, rows, [best.get(plain_text(row.text), usual) for row in rows], predictions)


def _said(task: str, records: Sequence[Record]) -> list[str]:
    """Answers, of several annotators the most frequent one, or the words of captions."""
    targets = [record.targets[task] for record in records if task in record.targets]
    return [most_given(target) if task == "vqa" else " ".join(caption_words(target)) for target in targets]


def _repeats(task: str, said: Sequence[str]) -> bool:
    """Whether there is a most frequent text: of captions that all differ none is."""
    return bool(said) and (task != "captioning" or len(set(said)) < len(said))


def _say(task: str, rows: Sequence[Row], texts: Sequence[str], predictions: SplitPredictions) -> list[Row]:
    about = predictions.description
    if task == "vqa":
        # An answer outside the list cannot be given; the list begins with the most frequent one.
        known = {text: {"answer": about.answers.index(text) if text in about.answers else 0} for text in set(texts)}
    else:
        words = about.words()
        known = {text: {"tokens": words.encode(text, about.max_length)} for text in set(texts)}
    return [replace(row, prediction=known[text]) for row, text in zip(rows, texts, strict=True)]


def _first(names: Sequence[str]) -> str:
    """The most frequent name, of equally frequent ones the alphabetically first."""
    counts = Counter(names)
    return min(counts, key=lambda name: (-counts[name], name))
