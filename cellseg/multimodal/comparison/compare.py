"""The comparison itself: trains, predicts the test split, scores, and puts every row beside the first one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellseg.errors import CellsegError, InputError
from cellseg.multimodal.comparison.baselines import baseline_predictions
from cellseg.multimodal.comparison.intervals import paired_statistic
from cellseg.multimodal.comparison.predictions import SplitPredictions, open_trained, predict_split
from cellseg.multimodal.comparison.scores import KIND_ACCURACY, SampleScore, meteor_of, score_predictions
from cellseg.multimodal.comparison.texts import write_texts
from cellseg.multimodal.comparison.trainings import Run, train_run

METEOR = "meteor"
Interval = tuple[float, float, float]
TaskScores = Mapping[str, Mapping[str, SampleScore]]


@dataclass(frozen=True)
class Cell:
    """One score of one row.

    Attributes:
        values: of each training.
        difference: from the first row, with its 95% interval; None of the first row itself, of a score that is no sum
            over samples, and where there are fewer than two groups.
    """

    values: tuple[float, ...]
    difference: Interval | None = None

    @property
    def mean(self) -> float:
        """Over the trainings."""
        return float(np.mean(self.values))

    @property
    def spread(self) -> float | None:
        """Standard deviation over the trainings; None of one."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None


@dataclass(frozen=True)
class ComparisonRow:
    """One model, trained with every seed, or a baseline.

    Attributes:
        name: of the config or baseline.
        weights: how many numbers are trained; None of a baseline.
        cells: by task and score.
    """

    name: str
    weights: int | None
    cells: Mapping[str, Mapping[str, Cell]]


@dataclass(frozen=True)
class Evaluated:
    """A row before it is compared: ``scores`` and ``meteor`` of each training."""

    name: str
    weights: int | None
    scores: Sequence[TaskScores]
    meteor: Sequence[float] = ()


def compare_runs(
    runs: Sequence[Run],
    split: str = "test",
    with_meteor: bool = False,
    device: str | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> tuple[list[ComparisonRow], dict[str, Any]]:
    """Train what is not trained yet, and compare on one split.

    Answers and captions are written into the folder of each training, see ``texts.write_texts``.

    Args:
        runs: see ``trainings.plan_runs``; the first config is what others are compared with.
        split: that is scored.
        with_meteor: whether captions are scored by METEOR too, which needs Java.
        device: for the scoring.
        note: is told what happens, a text each time.

    Returns:
        The rows, baselines last; and the size of the data: ``split``, ``samples`` and ``groups`` by task, and
        ``questions`` by kind where the data names kinds.

    Raises:
        InputError: what a training or the data refuses, or models that were scored on different samples.
    """
    for run in runs:
        note(f"{run.name}, seed {run.seed}: {'trained' if train_run(run) else 'is trained already'}")
    found: dict[str, list[tuple[TaskScores, float | None]]] = {}
    sizes: dict[str, int] = {}
    simple: dict[str, TaskScores] = {}
    for run in runs:
        trained = open_trained(run.work_dir, device)
        predictions = predict_split(trained, split)
        write_texts(run.work_dir, predictions, split)
        sizes[run.name] = sum(part.numel() for part in trained.predictor.model.parameters() if part.requires_grad)
        captions = predictions.rows.get("captioning")
        own = meteor_of(captions, predictions.description) if with_meteor and captions else None
        found.setdefault(run.name, []).append((score_predictions(predictions), own))
        for name, scores in _baselines(predictions, trained.data.records("train")).items():
            simple[name] = {**scores, **simple.get(name, {})}
        note(f"{run.name}, seed {run.seed}: scored")
    rows = [
        Evaluated(name, sizes[name], [scores for scores, _ in each], [own for _, own in each if own is not None])
        for name, each in found.items()
    ]
    rows += [Evaluated(name, None, [scores]) for name, scores in simple.items()]
    return [_compared(row, rows[0]) for row in rows], _about(rows[0], split)


def _baselines(predictions: SplitPredictions, train: Sequence[Any]) -> dict[str, TaskScores]:
    found = baseline_predictions(predictions, train)
    return {name: score_predictions(each) for name, each in found.items()}


def _compared(row: Evaluated, first: Evaluated) -> ComparisonRow:
    cells: dict[str, dict[str, Cell]] = {}
    for task, scores in row.scores[0].items():
        for name in scores:
            values = tuple(each[task][name].value for each in row.scores)
            difference = None if row is first else _difference(row, first, task, name)
            cells.setdefault(task, {})[name] = Cell(values, difference)
        if task == "captioning" and row.meteor:
            cells[task][METEOR] = Cell(tuple(row.meteor))
    return ComparisonRow(row.name, row.weights, cells)


def _difference(row: Evaluated, first: Evaluated, task: str, name: str) -> Interval | None:
    if name not in first.scores[0].get(task, {}):
        return None
    reference = first.scores[0][task][name]
    where = f"{row.name}: {task}"
    both = [[each[task][name].in_order_of(reference, where) for each in part.scores] for part in (row, first)]
    if len(set(reference.groups)) < 2:
        return None
    if both[0][0].shape != both[1][0].shape:
        raise InputError(f"{where}: knows other classes or answers than {first.name}; compare models of one data set")
    return paired_statistic(*both, reference.statistic, reference.groups)


def _about(first: Evaluated, split: str) -> dict[str, Any]:
    """How much the scores of the first row stand on; of matching, what its accuracy does."""
    own = {task: next(iter(scores.values())) for task, scores in first.scores[0].items()}
    questions = {
        name.removeprefix(KIND_ACCURACY): len(score.keys)
        for name, score in first.scores[0].get("vqa", {}).items()
        if name.startswith(KIND_ACCURACY)
    }
    return {
        "split": split,
        "samples": {task: len(score.keys) for task, score in own.items()},
        "groups": {task: len(set(score.groups)) for task, score in own.items()},
        **({"questions": questions} if questions else {}),
    }


def meteor_is_there() -> bool:
    """Whether METEOR can be computed here."""
    from cellseg.multimodal.metrics import meteor

    try:
        meteor(["a cat"], [["a cat"]])
    except CellsegError:
        return False
    return True
