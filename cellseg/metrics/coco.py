"""COCO average precision without the limit of 100 detections an image."""

from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO

import numpy as np

from cellseg.structures import Instances

MAX_DETECTIONS = 2000


def coco_average_precision(
    predictions: Sequence[Instances], truths: Sequence[Instances], kind: str = "segm"
) -> dict[str, float]:
    """COCO AP over IoU 0.50:0.05:0.95, mean over classes, with up to 2000 detections an image.

    pycocotools prints statistics for 100 detections only; the precision array holds the uncapped ones.

    Args:
        predictions: one ``Instances`` an image, with scores.
        truths: one ``Instances`` an image, in the same order.
        kind: ``segm`` or ``bbox``.

    Returns:
        ``ap``, ``ap50`` and ``ap75`` in 0..1; NaN when there is no true instance at all.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    num_classes = max([1, *(len(item.class_names) for item in truths)])
    with redirect_stdout(StringIO()):
        truth_api = COCO()
        truth_api.dataset = {
            "info": {},
            "images": [
                {"id": index, "height": item.image_size[0], "width": item.image_size[1]}
                for index, item in enumerate(truths)
            ],
            "categories": [{"id": label, "name": str(label)} for label in range(num_classes)],
            "annotations": _rows(truths, kind, scored=False),
        }
        truth_api.createIndex()
        found = _rows(predictions, kind, scored=True)
        if not found or not truth_api.dataset["annotations"]:
            value = 0.0 if truth_api.dataset["annotations"] else float("nan")
            return {"ap": value, "ap50": value, "ap75": value}
        evaluation = COCOeval(truth_api, truth_api.loadRes(found), kind)
        evaluation.params.maxDets = [1, 100, MAX_DETECTIONS]
        evaluation.evaluate()
        evaluation.accumulate()
    # [IoU threshold, recall, class, area range, max detections]; -1 marks classes without truth
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    return {
        "ap": _mean_valid(precision),
        "ap50": _mean_valid(precision[0]),
        "ap75": _mean_valid(precision[5]),
    }


def _rows(images: Sequence[Instances], kind: str, scored: bool) -> list[dict]:
    rows = []
    for index, item in enumerate(images):
        boxes = item.boxes.tolist()
        codes = item.masks.to_coco_rle() if kind == "segm" else [None] * len(item)
        for i, (box, code) in enumerate(zip(boxes, codes, strict=True)):
            x0, y0, x1, y1 = box
            row = {
                "id": len(rows) + 1,
                "image_id": index,
                "category_id": int(item.labels[i]),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": (x1 - x0) * (y1 - y0),
                "iscrowd": 0,
            }
            if code is not None:
                row["segmentation"] = code
            if scored:
                row["score"] = float(item.scores[i])
            rows.append(row)
    return rows


def _mean_valid(precision: np.ndarray) -> float:
    valid = precision[precision > -1]
    return float(valid.mean()) if valid.size else float("nan")
