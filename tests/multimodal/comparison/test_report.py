"""The tables of a comparison."""

import pytest

from cellseg.multimodal.comparison.compare import Cell, ComparisonRow
from cellseg.multimodal.comparison.report import comparison_table, comparison_values

ROWS = [
    ComparisonRow("full", 1_234_567, {"vqa": {"accuracy": Cell((0.5, 0.7)), "mae": Cell((2.0, 2.0))}}),
    ComparisonRow("text", 200_000, {"vqa": {"accuracy": Cell((0.4, 0.4), (-0.2, -0.3, 0.1))}}),
    ComparisonRow("majority", None, {"vqa": {"accuracy": Cell((0.25,), (-0.35, -0.5, -0.2))}}),
]
ABOUT = {"split": "test", "samples": {"vqa": 30}, "groups": {"vqa": 12}}


def test_the_table():
    parts = comparison_table(ROWS, ABOUT, [0, 1]).split("\n\n")
    assert parts[0].startswith("Split 'test'; seeds 0, 1: mean ± standard deviation over trainings. Differences from f")
    assert parts[1] == "## vqa (30 samples in 12 groups)"
    assert parts[2].splitlines() == [
        "|  | weights | accuracy | mae (smaller is better) |",
        "| --- | ---: | ---: | ---: |",
        "| full | 1.23 M | 0.6000 ± 0.1414 | 2.0000 ± 0.0000 |",
        "| text | 0.20 M | 0.4000 ± 0.0000 |  |",
        "| majority |  | 0.2500 |  |",
    ]
    assert parts[3].splitlines()[2:] == [
        "| text | -0.2000 [-0.3000, +0.1000] |  |",
        "| majority | -0.3500 [-0.5000, -0.2000] |  |",
    ]
    assert len(parts) == 4


def test_plain_values():
    values = comparison_values(ROWS, ABOUT, [0, 1])
    assert values["about"] == {**ABOUT, "seeds": [0, 1], "reference": "full"}
    assert values["rows"][1]["scores"]["vqa"]["accuracy"] == {
        "values": [0.4, 0.4],
        "mean": 0.4,
        "spread": 0.0,
        "difference": [-0.2, -0.3, 0.1],
    }
    assert values["rows"][0]["scores"]["vqa"]["accuracy"]["spread"] == pytest.approx(0.02**0.5)
    assert values["rows"][2]["scores"]["vqa"]["accuracy"]["spread"] is None
