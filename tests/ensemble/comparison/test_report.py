"""A comparison as a table, as plain values and as plots."""

import json

import numpy as np
import pytest
import torch

from cellseg.ensemble.comparison.compare import Comparison, Row
from cellseg.ensemble.comparison.report import comparison_json, comparison_table, comparison_text, plot_comparison
from cellseg.ensemble.comparison.uncertainty import UncertaintyCheck, check_uncertainty
from cellseg.metrics.reliability import reliability_curve
from cellseg.structures import CropMasks, Instances

ERRORS = {"predictions": {"invented": 3}, "cells": {"missed": 4}}


def make_row(name, kind, value, **more):
    values = dict(ap50=value + 0.2, ap75=value + 0.1, per_type={"astro": value, "cort": 0.5}, mean_matched_iou=0.75)
    per_image = dict(per_image=(value, value), per_image_ap50=(0.25, 0.75), per_image_ap75=(0.125, 0.5))
    return Row(name=name, kind=kind, map=value, errors=ERRORS, **(values | per_image | more))


@pytest.fixture
def comparison():
    curve = reliability_curve(torch.tensor([0.65, 0.68, 0.95]), torch.tensor([0.5, 0.7, 0.8]))
    return Comparison(
        rows=(
            make_row("yolox", "member", 0.25, difference=0.15, interval=(-0.01, 0.2), validation=0.5),
            make_row("matching", "matching", 0.3, difference=0.1, mean_matched_iou=None),
            make_row("ensemble", "ensemble", 0.4),
        ),
        images=("a", "b"),
        groups=("g", "h"),
        cell_types=("astro", "cort"),
        split="test",
        uncertainty=UncertaintyCheck(3, curve, 0.5),
        sheet=np.zeros((4, 4, 3), np.uint8),
        provenance={"fold": 0},
    )


def test_the_table(comparison):
    assert comparison_table(comparison).splitlines() == [
        "|  | mAP | AP50 | AP75 | astro | cort | IoU of matched cells | ensemble minus this [95% interval] |",
        "|---|---|---|---|---|---|---|---|",
        "| yolox | 0.250 | 0.450 | 0.350 | 0.250 | 0.500 | 0.750 | +0.150 [-0.010, +0.200] |",
        "| matching | 0.300 | 0.500 | 0.400 | 0.300 | 0.500 | - | +0.100 |",
        "| ensemble | 0.400 | 0.600 | 0.500 | 0.400 | 0.500 | 0.750 |  |",
    ]


def test_the_uncertainty_stands_below(comparison):
    lines = comparison_text(comparison).splitlines()
    assert lines[:5] == comparison_table(comparison).splitlines() and lines[5] == ""
    assert lines[6] == (
        "Uncertainty of the ensemble's 3 cells: rank correlation of 1 - uncertainty with the IoU to the best true cell "
        "0.500, calibration error 0.093."
    )
    assert lines[8:] == [
        "| 1 - uncertainty | cells | mean | mean IoU |",
        "|---|---|---|---|",
        "| 0.6 to 0.7 | 2 | 0.665 | 0.600 |",
        "| 0.9 to 1.0 | 1 | 0.950 | 0.800 |",
    ]


def test_without_uncertainty_there_is_only_the_table(comparison, tmp_path):
    plain = Comparison(**{**vars(comparison), "uncertainty": None})
    assert comparison_text(plain) == comparison_table(plain) == comparison_table(comparison)
    assert comparison_json(plain)["uncertainty"] is None
    plot_comparison(plain, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["comparison.png"]


def test_the_plain_values(comparison):
    plain = json.loads(json.dumps(comparison_json(comparison), allow_nan=False))
    assert (plain["split"], plain["images"], plain["provenance"]) == ("test", ["a", "b"], {"fold": 0})
    assert (plain["groups"], plain["cell_types"]) == (["g", "h"], ["astro", "cort"])
    assert plain["rows"][0] == dict(
        name="yolox",
        kind="member",
        map=0.25,
        ap50=0.45,
        ap75=0.35,
        per_type={"astro": 0.25, "cort": 0.5},
        mean_matched_iou=0.75,
        errors=ERRORS,
        per_image=[0.25, 0.25],
        per_image_ap50=[0.25, 0.75],
        per_image_ap75=[0.125, 0.5],
        difference=0.15,
        interval=[-0.01, 0.2],
        validation=0.5,
    )
    assert plain["rows"][1]["interval"] is None and plain["rows"][2]["difference"] is None
    uncertainty = plain["uncertainty"]
    assert (uncertainty["cells"], uncertainty["spearman"]) == (3, 0.5)
    assert uncertainty["calibration_error"] == pytest.approx((2 * 0.065 + 0.15) / 3)
    assert [row["count"] for row in uncertainty["reliability"]] == [0, 0, 0, 0, 0, 0, 2, 0, 0, 1]
    assert uncertainty["reliability"][0]["mean_actual"] is None


def test_the_plots(comparison, tmp_path):
    plot_comparison(comparison, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"comparison.png", "reliability.png"}


def found(cells, uncertainty):
    """Instances of squares of 3 x 3 pixels at these corners."""
    windows = torch.tensor([[x, y, x + 3, y + 3] for x, y in cells], dtype=torch.int64).reshape(-1, 4)
    masks = CropMasks(windows, torch.ones(9 * len(cells), dtype=torch.bool), (20, 20))
    count = len(cells)
    labels, scores = torch.zeros(count, dtype=torch.int64), torch.ones(count)
    return Instances(masks.boxes(), scores, labels, masks, (20, 20), ("cell",), uncertainty)


def test_cells_are_checked_over_all_images():
    first = found([(0, 0), (10, 10)], torch.tensor([0.0, 0.75]))
    second = found([(5, 5)], torch.tensor([0.5]))
    truths = [found([(0, 0), (11, 10)], None).masks, found([(15, 15)], None).masks]
    check = check_uncertainty([first, second], truths)
    # Certain 1, 0.25, 0.5; IoU 1, 6 / 12, 0.
    assert check.cells == 3 and check.spearman == pytest.approx(0.5)
    rows = {row.lower: row.mean_actual for row in check.curve.rows if row.count}
    assert rows == pytest.approx({0.2: 0.5, 0.5: 0.0, 0.9: 1.0})


def test_instances_without_uncertainty_are_not_checked():
    plain = found([(0, 0)], None)
    assert check_uncertainty([plain], [plain.masks]) is None
    assert check_uncertainty([], []) is None


def test_no_cells_have_no_rank():
    check = check_uncertainty([found([], torch.zeros(0))], [found([(0, 0)], None).masks])
    assert (check.cells, check.spearman, check.curve.error) == (0, None, 0)
