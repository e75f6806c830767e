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


def test_kinds_of_questions_stand_in_tables_of_their_own():
    count, shape = "accuracy:count", "accuracy:shape"
    rows = [
        ComparisonRow(
            "full", 10, {"vqa": {"accuracy": Cell((0.5, 0.7)), count: Cell((1.0, 0.8)), shape: Cell((0, 0))}}
        ),
        ComparisonRow("majority", None, {"vqa": {"accuracy": Cell((0.25,)), count: Cell((0.2,), (-0.7, -0.9, -0.5))}}),
    ]
    about = {**ABOUT, "questions": {"count": 12, "shape": 18}}
    parts = comparison_table(rows, about, [0, 1]).split("\n\n")
    assert parts[2].splitlines()[0] == "|  | weights | accuracy |"
    assert parts[3].splitlines() == [
        "| accuracy by kind | questions | full | majority |",
        "| --- | ---: | ---: | ---: |",
        "| count | 12 | 0.9000 ± 0.1414 | 0.2000 |",
        "| shape | 18 | 0.0000 ± 0.0000 |  |",
    ]
    assert parts[4].splitlines() == [
        "| accuracy by kind | majority - full |",
        "| --- | ---: |",
        "| count | -0.7000 [-0.9000, -0.5000] |",
        "| shape |  |",
    ]
    assert len(parts) == 5
    assert comparison_values(rows, about, [0, 1])["rows"][0]["scores"]["vqa"][count]["values"] == [1.0, 0.8]
    # Of a task that the first row does not have, nobody counted the questions.
    other = ComparisonRow("captions", 10, {"captioning": {"rouge": Cell((0.1,))}})
    assert "| count |  | 0.9000 ± 0.1414 |" in comparison_table([other, rows[0]], ABOUT, [0, 1])


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
