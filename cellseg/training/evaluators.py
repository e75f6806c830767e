"""Validation scores during training, on mmengine's registry."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from cellseg.metrics.coco import coco_average_precision
from cellseg.structures import CropMasks, Instances


@METRICS.register_module()
class InstanceAPMetric(BaseMetric):
    """COCO mask AP (``segm_ap``, ``segm_ap50``) with up to 2000 instances an image, and no file beside the data."""

    default_prefix = ""  # without one, mmengine warns

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep predictions and truths of a batch as crop masks."""
        names = tuple(self.dataset_meta["classes"])
        for sample in data_samples:
            size = tuple(sample["ori_shape"])
            found, truth = sample["pred_instances"], sample["gt_instances"]
            prediction = _instances(found["masks"], found["labels"], found["scores"], size, names)
            masks = torch.from_numpy(truth["masks"].masks)
            labels = truth["labels"].cpu()
            self.results.append((prediction, _instances(masks, labels, torch.ones(len(labels)), size, names)))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """AP over all images."""
        predictions, truths = zip(*results, strict=True)
        scores = coco_average_precision(predictions, truths, "segm")
        return {"segm_ap": scores["ap"], "segm_ap50": scores["ap50"]}


def _instances(masks, labels, scores, size: tuple[int, int], names: tuple[str, ...]) -> Instances:
    crops = CropMasks.from_dense(torch.as_tensor(masks, device="cpu").bool().reshape(-1, *size))
    return Instances(
        boxes=crops.boxes(),
        scores=scores.detach().float().cpu(),
        labels=labels.cpu().long(),
        masks=crops,
        image_size=size,
        class_names=names,
    )


@METRICS.register_module()
class ClassMapMetric(BaseMetric):
    """IoU of the classes of a semantic map: ``foreground_iou`` (everything but background) and ``mean_iou``.

    The map's classes are background, the cell types and the rim, so the data's own class names do not describe it.
    """

    default_prefix = ""  # without one, mmengine warns

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count the pixels of a batch by true and predicted class."""
        for sample in data_samples:
            truth = sample["gt_sem_seg"]["data"].reshape(-1).cpu().long()
            found = sample["pred_sem_seg"]["data"].reshape(-1).cpu().long()
            classes = len(self.dataset_meta["classes"]) + 2
            counts = torch.bincount(truth * classes + found, minlength=classes * classes)
            self.results.append(counts.reshape(classes, classes))

    def compute_metrics(self, results: list[torch.Tensor]) -> dict[str, float]:
        """IoU over the pixels of all images; a class that neither side has is left out of the mean."""
        counts = torch.stack(results).sum(dim=0).double()
        both = counts.diag()
        either = counts.sum(0) + counts.sum(1) - both
        background = counts[0, 0]
        foreground = counts[1:, 1:].sum() / (counts.sum() - background).clamp(min=1)
        return {"foreground_iou": float(foreground), "mean_iou": float((both / either)[either > 0].mean())}
