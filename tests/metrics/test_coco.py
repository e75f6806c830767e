"""COCO AP against the library's own numbers, and beyond its limit of 100 detections."""

import math
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cellseg.metrics.coco import coco_average_precision
from cellseg.structures import CropMasks, Instances

NAMES = ("round", "long")


def instances(masks, labels=None, scores=None):
    crops = CropMasks.from_dense(torch.from_numpy(np.asarray(masks)).bool())
    count = len(crops)
    return Instances(
        boxes=crops.boxes(),
        scores=torch.ones(count) if scores is None else torch.as_tensor(scores, dtype=torch.float32),
        labels=torch.zeros(count, dtype=torch.int64) if labels is None else torch.as_tensor(labels),
        masks=crops,
        image_size=crops.image_size,
        class_names=NAMES,
    )


def random_scene(rng, size=(70, 90), count=12):
    """True rectangles, and predictions that are displaced, missing, doubled or of the wrong type."""
    truth = np.zeros((count, *size), dtype=bool)
    for mask in truth:
        y, x, h, w = rng.integers(0, 50), rng.integers(0, 70), rng.integers(5, 20), rng.integers(5, 20)
        mask[y : y + h, x : x + w] = True
    labels = rng.integers(0, 2, count)
    chosen = rng.integers(0, count, count + 3)
    found = np.stack([np.roll(truth[i], rng.integers(-2, 3, 2), (0, 1)) for i in chosen])
    found_labels = np.where(rng.random(len(chosen)) < 0.9, labels[chosen], 1 - labels[chosen])
    return (truth, labels), (found, found_labels, rng.permutation(len(chosen)) / 100)


def library_scores(scenes, kind):
    """AP, AP50 and AP75 as pycocotools prints them, from dense masks."""
    rows, results = [], []
    for image, ((truth, labels), (found, found_labels, scores)) in enumerate(scenes, start=1):
        for target, masks, kinds in ((rows, truth, labels), (results, found, found_labels)):
            for index, (mask, label) in enumerate(zip(masks, kinds, strict=True)):
                ys, xs = np.nonzero(mask)
                box = [int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1]
                row = dict(id=len(target) + 1, image_id=image, category_id=int(label) + 1, iscrowd=0, bbox=box)
                row |= dict(area=float(box[2] * box[3]))
                row["segmentation"] = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
                target.append(row | (dict(score=float(scores[index])) if target is results else {}))
    height, width = scenes[0][0][0].shape[1:]
    api = COCO()
    images = [dict(id=image + 1, height=height, width=width) for image in range(len(scenes))]
    api.dataset = dict(info={}, images=images, categories=[dict(id=1), dict(id=2)], annotations=rows)
    with redirect_stdout(StringIO()):
        api.createIndex()
        evaluation = COCOeval(api, api.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(("ap", "ap50", "ap75"), evaluation.stats[:3], strict=True))


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_library_where_its_limit_does_not_matter(seed, kind):
    rng = np.random.default_rng(seed)
    scenes = [random_scene(rng) for _ in range(3)]
    found = coco_average_precision(
        [instances(*prediction) for _, prediction in scenes], [instances(*truth) for truth, _ in scenes], kind
    )
    assert found == pytest.approx(library_scores(scenes, kind), abs=1e-12)
    assert 0.05 < found["ap"] < found["ap50"] < 1


def grid(count, size=(120, 120), side=4):
    masks = np.zeros((count, *size), dtype=bool)
    for index in range(count):
        y, x = divmod(index, size[1] // (side + 1))
        masks[index, y * (side + 1) :, x * (side + 1) :][:side, :side] = True
    return masks


def test_more_than_100_detections_count():
    masks = grid(250)
    labels = np.zeros(250, dtype=np.int64)
    scores = np.linspace(0.9, 0.5, 250)
    scene = ((masks, labels), (masks, labels, scores))
    assert coco_average_precision([instances(*scene[1])], [instances(*scene[0])])["ap"] == pytest.approx(1.0)
    assert library_scores([scene], "segm")["ap"] < 0.5


def test_right_predictions_after_2000_are_not_counted():
    wrong = grid(2001, size=(300, 300))
    scores = np.linspace(0.9, 0.5, 2001)
    # The right one comes last, behind 2000 wrong ones.
    masks = np.concatenate([wrong[1:], np.zeros((1, 300, 300), dtype=bool)])
    masks[-1, 250:290, 250:290] = True
    true = np.zeros((1, 300, 300), dtype=bool)
    true[0, 250:290, 250:290] = True
    assert coco_average_precision([instances(masks, scores=scores)], [instances(true)])["ap"] == 0
    score = coco_average_precision([instances(masks[1:], scores=scores[1:])], [instances(true)])["ap"]
    assert score == pytest.approx(1 / 2000)


def test_nothing_found_and_nothing_to_find():
    none = instances(np.zeros((0, 20, 20), dtype=bool))
    some = instances(grid(2, size=(20, 20)))
    assert coco_average_precision([none], [some]) == {"ap": 0.0, "ap50": 0.0, "ap75": 0.0}
    assert all(math.isnan(value) for value in coco_average_precision([some], [none]).values())
    assert coco_average_precision([some, none], [some, none])["ap"] == pytest.approx(1.0)


def test_prints_nothing(capsys):
    some = instances(grid(2, size=(20, 20)))
    coco_average_precision([some], [some])
    assert capsys.readouterr().out == ""
