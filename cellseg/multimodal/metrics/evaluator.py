"""Validation scores of multimodal models, on mmengine's registry."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from cellseg.errors import InputError
from cellseg.multimodal.data.description import DataDescription
from cellseg.multimodal.metrics.meteor import meteor
from cellseg.multimodal.metrics.tasks import captions_of, score_task


@METRICS.register_module()
class TaskScores(BaseMetric):
    """Scores of every task that predictions and samples have in common, named ``TASK_SCORE`` (see ``score_task``).

    Args:
        meteor: whether captions are also scored by METEOR (``captioning_meteor``), a Java program of the package
            pycocoevalcap that takes some seconds.
    """

    default_prefix = ""  # without one, mmengine warns

    def __init__(self, meteor: bool = False, **options: Any):
        super().__init__(**options)
        self.meteor = meteor

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep predictions and truths of a batch."""
        for prediction in data_samples:
            truth = prediction["sample"]["truth"]
            self.results.extend((task, prediction[task], truth[task]) for task in prediction if task in truth)

    def compute_metrics(self, results: list[tuple[str, Any, Any]]) -> dict[str, float]:
        """Scores over all samples.

        Raises:
            InputError: the model answers no task that the samples have.
        """
        if not results:
            raise InputError("the model has no head for a task of the validation samples; name heads as source.tasks")
        rows = defaultdict(list)
        for task, prediction, true in results:
            rows[task].append((prediction, true))
        description = DataDescription.from_dict(self.dataset_meta["description"], "the validation data")
        scores: dict[str, float] = {}
        for task, found in rows.items():
            scores |= score_task(task, found, description)
        if self.meteor and "captioning" in rows:
            scores["captioning_meteor"] = meteor(*captions_of(rows["captioning"], description))
        return scores
