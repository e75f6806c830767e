import csv
import json

import numpy as np
import pytest

from cellseg.errors import InputError
from cellseg.metrics import competition_map, evaluate_image, summarize, summarize_types
from cellseg.metrics.report import format_report, image_table, report_values
from cellseg.structures import CropMasks


@pytest.fixture
def results(dense):
    """An image with a good and a small cell, one with a merged pair, one without anything, one without a type."""
    cases = [
        ("a", "astro", [(0, 0, 5, 4)], [(0, 0, 5, 5), (9, 9, 10, 10)]),
        ("b", "cort", [(0, 0, 8, 4)], [(0, 0, 4, 4), (4, 0, 8, 4)]),
        ("c", "astro", [], []),
        ("d", "", [(0, 0, 3, 3)], [(0, 0, 3, 3)]),
    ]
    return [
        evaluate_image(key, dense.crops(dense.masks(*predicted)), dense.crops(dense.masks(*true)), cell_type)
        for key, cell_type, predicted, true in cases
    ]


def test_summary_of_all(results):
    values = report_values(summarize(results, edges=(10, 20)), summarize_types(results), results)
    # a: IoU 0.8, matched up to 0.75 (six thresholds), one of two cells; b: nothing; c and d: 1
    assert values["map"] == pytest.approx((0.6 * 0.5 + 0 + 1 + 1) / 4)
    assert values["per_type"] == pytest.approx({"astro": (0.3 + 1) / 2, "cort": 0.0})
    assert list(values["ap"]) == ["0.50", "0.55", "0.60", "0.65", "0.70", "0.75", "0.80", "0.85", "0.90", "0.95"]
    assert list(values["ap"].values()) == pytest.approx([2.5 / 4] * 6 + [2 / 4] * 4)
    assert (values["image_count"], values["cells"], values["predictions"], values["matched"]) == (4, 5, 3, 2)
    assert values["f1"] == pytest.approx(2 * 2 / (3 + 5))
    assert values["pq"] == pytest.approx((0.8 + 1.0) / (2 + 1 / 2 + 3 / 2))
    assert values["mean_matched_iou"] == pytest.approx(0.9)
    assert values["mean_best_iou"] == pytest.approx((0.8 + 0 + 0.5 + 0.5 + 1) / 5)
    assert values["errors"] == {
        "predictions": {"invented": 0, "split": 0, "merged": 1, "bad_outline": 0},
        "cells": {"missed": 1, "split": 0, "merged": 2, "bad_outline": 0},
    }
    assert values["recall_by_size"] == [
        {"from_px": 0, "below_px": 10, "cells": 2, "found": 1, "recall": 0.5, "mean_best_iou": 0.5},
        {"from_px": 10, "below_px": 20, "cells": 2, "found": 0, "recall": 0.0, "mean_best_iou": 0.5},
        {"from_px": 20, "below_px": None, "cells": 1, "found": 1, "recall": 1.0, "mean_best_iou": 0.8},
    ]
    assert [image["id"] for image in values["images"]] == ["a", "b", "c", "d"]
    assert [image["map"] for image in values["images"]] == pytest.approx([0.3, 0.0, 1.0, 1.0])
    assert values["types"]["cort"]["errors"]["cells"]["merged"] == 2
    json.dumps(values, allow_nan=False)


@pytest.mark.parametrize("seed", range(20))
def test_summary_agrees_with_competition_map(dense, seed):
    generator = np.random.default_rng(seed)
    truths = [dense.crops(dense.random(generator, overlapping=True)) for _ in range(5)]
    predictions = [
        dense.crops(dense.disturbed(generator, truth.to_dense().numpy(), overlapping=False)) for truth in truths
    ]
    images = [evaluate_image(str(i), p, t) for i, (p, t) in enumerate(zip(predictions, truths, strict=True))]
    summary, expected = summarize(images), competition_map(predictions, truths)
    assert summary.score.map == expected.map
    assert summary.score.ap == expected.ap
    # The matches that IoU and errors are taken from are as many as the ones that are counted.
    assert summary.quality.matched == int(expected.counts[:, 0, 0].sum())
    assert summary.quality.matched + sum(summary.errors["cells"].values()) == summary.quality.cells
    assert summary.quality.matched + sum(summary.errors["predictions"].values()) == summary.quality.predictions
    assert sum(size.cells for size in summary.sizes) == summary.quality.cells
    assert sum(size.found for size in summary.sizes) == summary.quality.matched


def test_report_reads_well(results):
    text = format_report(summarize(results), summarize_types(results), results)
    lines = text.splitlines()
    assert "  all images       4      5          3  0.5750  0.6250  0.5000     0.6667  0.4000  0.4500" in text
    assert any(line.split()[:2] == ["cort", "1"] for line in lines)
    assert "  below 64" in text and "  64 to 127" in text and "  2048 or more" in text
    images = lines[lines.index("Images, lowest mAP first") + 2 :]
    assert [line.split()[0] for line in images] == ["b", "a", "c", "d"]
    assert images[2].split() == ["c", "astro", "1.0000", "1.0000", "1.0000", "0", "0", "0", "0", "0"]
    assert all(line == line.rstrip() for line in lines)


def test_report_lists_the_lowest_of_many_images(results):
    many = [evaluate_image(f"image{i}", CropMasks.empty((4, 4)), CropMasks.empty((4, 4))) for i in range(30)]
    text = format_report(summarize([*many, *results]), {}, [*many, *results])
    assert "Images, lowest mAP first (20 of 34; --per-image FILE.csv writes all)" in text
    assert len(text.splitlines()[-21:]) == 21 and text.splitlines()[-20].startswith("  b ")


def test_image_table(results):
    rows = list(csv.DictReader(image_table(results).splitlines()))
    assert [row["id"] for row in rows] == ["a", "b", "c", "d"]
    first, second = rows[:2]
    assert float(first["map"]) == pytest.approx(0.3)
    assert (first["cells"], first["predictions"], first["matched"], first["missed"]) == ("2", "1", "1", "1")
    assert (second["merged_cells"], second["merged_predictions"], second["invented"]) == ("2", "1", "0")
    assert second["mean_matched_iou"] == ""  # there is no match to take a mean of


def test_names_the_image_and_refuses_none():
    with pytest.raises(InputError, match=r"image c7: masks of different image sizes"):
        evaluate_image("c7", CropMasks.empty((4, 4)), CropMasks.empty((4, 5)))
    with pytest.raises(InputError, match="no images to summarize"):
        summarize([])
