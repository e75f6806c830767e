"""COCO box AP of cells: whole images at the training's magnification, up to 2000 detections each."""

import importlib.util
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
import torch
import torch.distributed
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn
from torch.utils.data import DataLoader
from yolox.evaluators import COCOEvaluator
from yolox.utils import get_rank, get_world_size

from cellseg.models.yolox.inference import detect
from cellseg.models.yolox.settings import YoloxSettings

MAX_DETECTIONS = 2000  # of one image
ALL_SIZES = [0, 1e10]


class CellEvaluator(COCOEvaluator):
    """The package's evaluator without CUDA types, its resizing, its limit of 100 detections and its temporary files.

    Args:
        loader: over ``ValidationImages``, one image at a time.
        settings: magnification, score floor, suppression.
        class_names: cell types.
    """

    def __init__(self, loader: DataLoader, settings: YoloxSettings, class_names: tuple[str, ...]):
        super().__init__(loader, settings.input_size, settings.test_conf, settings.nmsthre, len(class_names))
        self.settings = settings
        self.class_names = class_names
        self.truth = _truth_api(loader.dataset.images, len(class_names))

    def evaluate(
        self, model: nn.Module, distributed: bool = False, half: bool = False, **unused: Any
    ) -> tuple[float, float, str]:
        """Detect on all images and score the boxes.

        Returns:
            AP over IoU 0.50:0.05:0.95 and AP at 0.50, both in 0..1, and a line of text. Of several processes the
            first has the scores, the others zeros.
        """
        rows: list[dict] = []
        for image, index in self.dataloader:
            # Without a batch, the loader makes tensors of arrays.
            image = np.asarray(image)
            magnification = self.settings.magnification(*image.shape[:2], training=False)
            found = detect(model, image, magnification, self.confthre, self.nmsthre)
            rows += _rows(int(index), *(part[:MAX_DETECTIONS].tolist() for part in found))
        if distributed:
            gathered: list[Any] = [None] * get_world_size()
            torch.distributed.all_gather_object(gathered, rows)
            rows = [row for part in gathered for row in part]
        return self.evaluate_prediction(rows) if get_rank() == 0 else (0.0, 0.0, "")

    def evaluate_prediction(self, data_dict: list[dict], statistics: Any = None) -> tuple[float, float, str]:
        """Score detections in COCO's form, see ``evaluate``."""
        if not data_dict:
            return 0.0, 0.0, "no detections"
        with redirect_stdout(StringIO()):
            scoring = _scorer()(self.truth, self.truth.loadRes(data_dict), "bbox")
            scoring.params.maxDets = [MAX_DETECTIONS]
            scoring.params.areaRng, scoring.params.areaRngLbl = [ALL_SIZES], ["all"]
            scoring.evaluate()
            scoring.accumulate()
        # [IoU threshold, recall, class, size range, limit]; -1 marks classes without a true cell
        precision = scoring.eval["precision"][:, :, :, 0, 0]
        by_class = [_mean(precision[:, :, label]) for label in range(len(self.class_names))]
        parts = [f"{name} {value:.4f}" for name, value in zip(self.class_names, by_class, strict=True)]
        return _mean(precision), _mean(precision[0]), "AP by type: " + ", ".join(parts)


def _scorer() -> type[COCOeval]:
    """The package's compiled COCOeval where it was built with it: the same numbers, tens of times faster."""
    if importlib.util.find_spec("yolox.layers.fast_cocoeval") is None:
        return COCOeval
    from yolox.layers import COCOeval_opt

    return COCOeval_opt


def _mean(precision: np.ndarray) -> float:
    valid = precision[precision > -1]
    return float(valid.mean()) if valid.size else float("nan")


def _truth_api(images: Any, num_classes: int) -> COCO:
    annotations: list[dict] = []
    for index, record in enumerate(images.records):
        boxes = record.masks.boxes().tolist()
        annotations += _rows(index, boxes, [0.0] * len(boxes), record.labels.tolist())
    for number, row in enumerate(annotations, start=1):
        row.update(id=number, area=row["bbox"][2] * row["bbox"][3], iscrowd=0)
    api = COCO()
    api.dataset = dict(
        info={},
        images=[dict(id=i, height=r.height, width=r.width) for i, r in enumerate(images.records)],
        categories=[dict(id=label, name=str(label)) for label in range(num_classes)],
        annotations=annotations,
    )
    with redirect_stdout(StringIO()):
        api.createIndex()
    return api


def _rows(index: int, boxes: list[list[float]], scores: list[float], labels: list[int]) -> list[dict]:
    return [
        dict(image_id=index, category_id=label, bbox=[x0, y0, x1 - x0, y1 - y0], score=score)
        for (x0, y0, x1, y1), score, label in zip(boxes, scores, labels, strict=True)
    ]
