"""Captions of several trainings beside the majority and beside another model."""

import json
from statistics import fmean, stdev

import numpy as np
import pytest

from cellseg.errors import InputError
from cellseg.multimodal.derive.caption_comparison import compare_captions
from cellseg.multimodal.derive.dataset import DatasetOptions, derive_dataset
from cellseg.multimodal.derive.slot_scores import score_captions
from cellseg.multimodal.derive.tables import comparison_table


@pytest.fixture(scope="module")
def derived(data_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("comparison") / "text"
    derive_dataset(data_folder, out, DatasetOptions(images=False))
    return out


@pytest.fixture
def write(derived, tmp_path):
    """Writes replies to the prompts of the test split; those whose number the function names say something else."""

    def dump(name, wrong=lambda number: False, said="no idea", source="prompts.json"):
        first = {}
        for entry in json.loads((derived / "splits" / "test" / source).read_text())["annotations"]:
            first.setdefault((entry["image_id"], entry.get("prompt")), entry)
        replies = [
            {key: entry[key] for key in ("image_id", "prompt") if key in entry}
            | {"caption": said if wrong(number) else entry["caption"]}
            for number, entry in enumerate(first.values())
        ]
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(replies))
        return path

    return dump


def test_several_trainings_beside_another_model(derived, write):
    ours = [write("a"), write("b", lambda number: number % 4 == 0)]
    others = [write("c", lambda number: number % 2 == 0)]
    found = compare_captions(ours, derived, others)
    assert list(found) == ["test"]
    one = [score_captions(path, derived)["test"] for path in (*ours, *others)]
    for name, key in (("just every", "every"), ("just count", "count")):
        values = [scores["replies"][key]["accuracy"] for scores in one]
        row = found["test"][name]
        assert row["captions"] == one[0]["replies"][key]["replies"]
        assert row["mean"] == pytest.approx(fmean(values[:2]), abs=2e-4)
        assert row["std"] == pytest.approx(stdev(values[:2]), abs=2e-4)
        assert row["majority"] == one[0]["replies"][key]["majority"]
        assert row["minus_majority"][0] == pytest.approx(row["mean"] - row["majority"], abs=2e-4)
        assert row["minus_other"][0] == pytest.approx(row["mean"] - values[2], abs=2e-4)
        assert row["minus_other"][1] <= row["minus_other"][0] <= row["minus_other"][2]
    values = [scores["count"]["accuracy"] for scores in one]
    assert found["test"]["count"]["mean"] == pytest.approx(fmean(values[:2]), abs=2e-4)
    assert found["test"]["count"]["majority"] == one[0]["count"]["majority"]
    assert found["test"]["bleu4"]["mean"] == pytest.approx(fmean(s["overlap"]["bleu4"] for s in one[:2]), abs=2e-4)
    errors = [scores["count"]["error"]["mean"] for scores in one[:2]]
    assert found["test"]["count"]["error"]["mean"] == pytest.approx(fmean(errors), abs=2e-4)
    table = comparison_table(found)
    assert "  count error: mean 0.000 ± 0.000 cells" in table
    assert "test: what captions say" in table and "minus the other" in table and " ± " in table


def test_the_interval_is_over_groups(derived, write):
    """By hand: all replies about one group are wrong, so a draw has 0, 1, ... of its share."""
    images = json.loads((derived / "prompts.json").read_text())["images"]
    group = {image["id"]: image["group"] for image in images}
    first = next(image["group"] for image in images if image["split"] == "test")
    asked = json.loads(write("right").read_text())
    wrong = [number for number, entry in enumerate(asked) if group[entry["image_id"]] == first]
    path = write("wrong", lambda number: number in wrong)
    row = compare_captions([path], derived, [write("right")])["test"]["just every"]
    assert row["std"] is None and row["minus_other"][0] == pytest.approx(-len(wrong) / len(asked), abs=2e-4)
    groups = sorted({group[entry["image_id"]] for entry in asked})
    counts = np.array([sum(group[entry["image_id"]] == name for entry in asked) for name in groups])
    misses = np.array([-counts[place] if name == first else 0 for place, name in enumerate(groups)])
    draws = np.random.default_rng(0).integers(len(groups), size=(20000, len(groups)))
    expected = np.percentile(misses[draws].sum(1) / counts[draws].sum(1), [2.5, 97.5])
    assert row["minus_other"][1:] == pytest.approx(expected, abs=0.05)


def test_captions_without_prompts_are_compared_by_slots(derived, write):
    path = write("captions", source="captions.json")
    row = compare_captions([path, path], derived)["test"]
    assert row["count"]["mean"] == 1.0 and row["count"]["std"] == 0.0 and row["count"]["minus_other"] is None
    assert not any(name.startswith("just") for name in row)
    assert "minus the other" not in comparison_table({"test": row})


def test_other_captions_are_not_compared(derived, write):
    with pytest.raises(InputError, match="captions.json: its captions are about other images or prompts than those of"):
        compare_captions([write("a")], derived, [write("captions", source="captions.json")])
