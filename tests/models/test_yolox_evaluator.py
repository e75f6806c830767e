"""Box AP of the evaluator against pycocotools and against what must hold."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools.cocoeval import COCOeval
from torch import nn

import cellseg.models.yolox.evaluator as evaluator_module
from cellseg.datasets.folder import DataFolder
from cellseg.models.yolox.data import CellImages, ValidationImages
from cellseg.models.yolox.evaluator import CellEvaluator
from cellseg.models.yolox.settings import YoloxSettings

write_disc_folder = runpy.run_path(str(Path(__file__).parent / "disc_folder.py"))["write_disc_folder"]
SETTINGS = YoloxSettings(max_epoch=30, image_scale=1.0, input_size=(96, 96))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return DataFolder(write_disc_folder(tmp_path_factory.mktemp("discs")))


def make_evaluator(folder, **changes):
    settings = replace(SETTINGS, **changes)
    images = CellImages(folder, 0, "val", settings)
    loader = torch.utils.data.DataLoader(ValidationImages(images), batch_size=None)
    return CellEvaluator(loader, settings, folder.class_names)


class Oracle(nn.Module):
    """Stands for a network: knows the truth of the images in turn, at a magnification, and tells it with an error."""

    def __init__(self, evaluator, magnification=1.0, error=0.0, scores=lambda count: torch.ones(count)):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.records = iter(evaluator.dataloader.dataset.images.records)
        self.magnification, self.error, self.scores = magnification, error, scores

    def forward(self, image):
        record = next(self.records)
        boxes = (record.masks.boxes() + self.error) * self.magnification
        rows = torch.zeros(len(boxes), 7)
        rows[:, :2], rows[:, 2:4] = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        rows[:, 4] = self.scores(len(boxes))
        rows[torch.arange(len(boxes)), 5 + record.labels] = 1.0
        return rows[None]


@pytest.mark.parametrize(
    ("changes", "magnification"),
    [(dict(), 1.0), (dict(image_scale=2.0), 2.0), (dict(image_scale=None, test_size=(192, 256)), 2.0)],
)
def test_the_truth_scores_one_at_every_magnification(folder, changes, magnification):
    evaluator = make_evaluator(folder, **changes)
    ap, ap50, text = evaluator.evaluate(Oracle(evaluator, magnification))
    assert ap == ap50 == pytest.approx(1.0)
    assert text == "AP by type: disc 1.0000, bar 1.0000"
    assert type(ap) is float


def test_shifted_boxes_score_less_the_stricter_the_threshold(folder):
    evaluator = make_evaluator(folder)
    ap, ap50, _ = evaluator.evaluate(Oracle(evaluator, error=1.5))
    assert 0.1 < ap < 0.7 < ap50


def test_no_detections(folder):
    evaluator = make_evaluator(folder)
    assert evaluator.evaluate(Oracle(evaluator, scores=torch.zeros)) == (0.0, 0.0, "no detections")


def test_compiled_and_plain_scoring_agree_with_pycocotools(folder, monkeypatch):
    evaluator = make_evaluator(folder)
    generator = np.random.default_rng(0)
    rows = []
    for image, record in enumerate(evaluator.dataloader.dataset.images.records):
        for box, label in zip(record.masks.boxes().tolist(), record.labels.tolist(), strict=True):
            for _ in range(3):
                x0, y0, x1, y1 = np.array(box) + generator.normal(0, 2, 4)
                score = float(generator.random())
                rows.append(dict(image_id=image, category_id=label, bbox=[x0, y0, x1 - x0, y1 - y0], score=score))
    found = evaluator.evaluate_prediction([dict(row) for row in rows])
    monkeypatch.setattr(evaluator_module, "_scorer", lambda: COCOeval)
    assert evaluator.evaluate_prediction([dict(row) for row in rows]) == pytest.approx(found)
    standard = COCOeval(evaluator.truth, evaluator.truth.loadRes(rows), "bbox")
    standard.evaluate()
    standard.accumulate()
    standard.summarize()
    assert found[:2] == pytest.approx(standard.stats[:2])
    assert 0 < found[0] < found[1] < 1


def test_more_than_a_hundred_cells_count(folder, monkeypatch):
    evaluator = make_evaluator(folder)
    side, count = 6, 400
    corners = torch.stack(torch.meshgrid(torch.arange(20), torch.arange(20), indexing="ij"), -1).reshape(-1, 2) * 8.0
    boxes = torch.cat([corners, corners + side], dim=1).tolist()
    truth = evaluator_module._rows(0, boxes, [0.0] * count, [0] * count)
    for number, row in enumerate(truth, start=1):
        row.update(id=number, area=side * side, iscrowd=0)
    evaluator.truth.dataset["annotations"] = truth
    evaluator.truth.createIndex()
    rows = evaluator_module._rows(0, boxes, np.linspace(0.9, 0.1, count).tolist(), [0] * count)
    assert evaluator.evaluate_prediction(rows)[0] == pytest.approx(1.0)
