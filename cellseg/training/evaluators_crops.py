"""Validation score of networks that segment the central cell of a crop."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from cellseg.datasets.box_crops import CENTRAL, IGNORED, check_margin


@METRICS.register_module()
class CentralCellMetric(BaseMetric):
    """IoU of the pixels that are rather the central cell than not, mean over the crops: ``central_iou``.

    Beside it ``ellipse_iou``, what the ellipse inscribed in the box would score without looking at the image.

    Args:
        margin: the part of the box by which a crop is larger on each side, as the data set's.
    """

    default_prefix = ""  # without one, mmengine warns

    def __init__(self, margin: float, **kwargs):
        super().__init__(**kwargs)
        self.margin = check_margin("margin", margin)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Both IoU of each crop of a batch."""
        rows = []
        for sample in data_samples:
            truth = sample["gt_sem_seg"]["data"][0].cpu()
            found = sample["seg_logits"]["data"].cpu().float().softmax(dim=0)[CENTRAL] > 0.5
            ellipse = inscribed_ellipse(tuple(truth.shape), self.margin)
            counted = truth != IGNORED
            rows.append([_iou(mask & counted, truth == CENTRAL) for mask in (found, ellipse)])
        # One entry a batch: mmengine keeps no more entries than the data set has images.
        self.results.append(torch.tensor(rows, dtype=torch.float64))

    def compute_metrics(self, results: list[torch.Tensor]) -> dict[str, float]:
        """Means over all crops."""
        central, ellipse = torch.cat(results).mean(dim=0).tolist()
        return {"central_iou": central, "ellipse_iou": ellipse}


def inscribed_ellipse(size: tuple[int, int], margin: float) -> torch.Tensor:
    """Crop pixels inside the ellipse that touches the box's four sides: bool ``[h, w]``."""
    rows, columns = (((torch.arange(length) + 0.5) * 2 / length - 1) * (1 + 2 * margin) for length in size)
    return rows[:, None] ** 2 + columns**2 <= 1


def _iou(first: torch.Tensor, second: torch.Tensor) -> float:
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0
