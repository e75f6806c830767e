"""The study of the tuners: its table, its values, and which images it takes."""

import json

import pytest

from cellseg.ensemble.tuners import DEFAULT_TUNER, TUNERS
from cellseg.ensemble.tuning.tuner_study import Scores, StudyOptions, TunerStudy, pick_images
from cellseg.errors import InputError


def study(rows, seeds):
    return TunerStudy(StudyOptions(seeds=seeds), Scores((0.2,), (0.1,)), rows, (5, 7), {"fold": 0})


def test_the_table_has_means_and_deviations():
    rows = {"random": Scores((0.5, 0.6), (0.3, 0.5)), DEFAULT_TUNER: Scores((0.7, 0.7), (0.2, 0.4))}
    assert study(rows, 2).table().splitlines() == [
        "| tuner | val, tuned on (5 images) | test, not seen (7 images) |",
        "|---|---|---|",
        "| none: equal weights | 0.2000 | 0.1000 |",
        "| random | 0.5500 ± 0.0707 | 0.4000 ± 0.1414 |",
        f"| {DEFAULT_TUNER} (default) | 0.7000 ± 0.0000 | 0.3000 ± 0.1414 |",
    ]


def test_one_seed_has_no_deviation():
    assert study({"random": Scores((0.5,), (0.25,))}, 1).table().endswith("| random | 0.5000 | 0.2500 |")


def test_all_values_are_kept():
    content = study({"random": Scores((0.5, 0.6), (0.3, 0.5))}, 2).to_dict()
    assert json.loads(json.dumps(content)) == {
        "budget": 200,
        "seeds": 2,
        "splits": {"tuned": "val", "unseen": "test"},
        "images": {"tuned": 5, "unseen": 7},
        "start": {"tuned": 0.2, "unseen": 0.1},
        "tuners": {"random": {"tuned": [0.5, 0.6], "unseen": [0.3, 0.5]}},
        "provenance": {"fold": 0},
    }


def test_all_tuners_are_compared_unless_some_are_named():
    assert StudyOptions().names() == sorted(TUNERS)
    assert StudyOptions(tuners=("random", "aquila", "random")).names() == ["aquila", "random"]


@pytest.mark.parametrize(
    "count, expected",
    [(0, "abcdefghi"), (9, "abcdefghi"), (20, "abcdefghi"), (1, "a"), (2, "ai"), (3, "aei"), (5, "acegi")],
)
def test_images_are_spread_over_the_split(count, expected):
    assert "".join(pick_images("abcdefghi", count)) == expected


@pytest.mark.parametrize("count", range(1, 12))
def test_no_image_is_taken_twice(count):
    assert len(set(pick_images(range(12), count))) == count


def test_the_splits_must_differ():
    with pytest.raises(InputError, match="is the split to tune on"):
        StudyOptions(split="test")
