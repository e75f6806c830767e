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

MAJORITY = "majority"
QUESTION_ONLY = "question only"
MEAN = "mean"


def baseline_predictions(predictions: SplitPredictions, train: Sequence[Record]) -> dict[str, SplitPredictions]:
    """What simple baselines answer to the samples that a model answered.

    - ``majority``: the class, the answer, or the value of each label, that the training has most often;
    - ``mean``, of regression: the mean of each number in the training;
    - ``question only``, of vqa: the answer that the training gives most often to that very question, or the majority
      where it has not been asked there.

    Args:
        predictions: of any model of this data.
        train: the records of its training.

    Returns:
        By name; a baseline that knows none of the tasks is left out.
    """
    majority = {task: _majority(task, rows, predictions, train) for task, rows in predictions.rows.items()}
    asked = {task: _question_only(rows, predictions, train) for task, rows in predictions.rows.items() if task == "vqa"}
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
    if task == "vqa":
        answer = _answer_number(_first(_answers(train)), predictions)
        return [replace(row, prediction={"answer": answer}) for row in rows]
    if task == "multilabel":
        known = np.array([record.targets[task] for record in train if task in record.targets], np.float64)
        often = np.nanmean(known, axis=0)
        return [replace(row, prediction={"probabilities": often.tolist()}) for row in rows]
    if task not in NAMES_OF_TASK:
        return []
    names = predictions.description.names_of(task)
    label = names.index(_first([record.targets[task] for record in train if task in record.targets]))
    return [replace(row, prediction={"label": label}) for row in rows]


def _question_only(rows: Sequence[Row], predictions: SplitPredictions, train: Sequence[Record]) -> list[Row]:
    by_question = defaultdict(list)
    for record in train:
        if "vqa" in record.targets:
            by_question[plain_text(record.inputs.get("text", ""))].append(most_given(record.targets["vqa"]))
    usual = _first(_answers(train))
    said = {question: _first(answers) for question, answers in by_question.items()}
    numbers = [_answer_number(said.get(plain_text(row.text), usual), predictions) for row in rows]
    return [replace(row, prediction={"answer": number}) for row, number in zip(rows, numbers, strict=True)]


def _answers(train: Sequence[Record]) -> list[str]:
    return [most_given(record.targets["vqa"]) for record in train if "vqa" in record.targets]


def _first(names: Sequence[str]) -> str:
    """The most frequent name, of equally frequent ones the alphabetically first."""
    counts = Counter(names)
    return min(counts, key=lambda name: (-counts[name], name))


def _answer_number(answer: str, predictions: SplitPredictions) -> int:
    answers = predictions.description.answers
    # An answer outside the list cannot be given; the list begins with the most frequent one.
    return answers.index(answer) if answer in answers else 0
