"""Scores of captions by slot."""

import json
from collections import Counter

import numpy as np
import pytest

from cellseg.errors import InputError, MissingFileError
from cellseg.multimodal.derive.dataset import DatasetOptions, derive_dataset
from cellseg.multimodal.derive.phrases import Slots, slots_of
from cellseg.multimodal.derive.slot_scores import read_captions, read_described, score_captions, score_slots
from cellseg.multimodal.derive.tables import slot_table


@pytest.fixture(scope="module")
def derived(data_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("scores") / "text"
    derive_dataset(data_folder, out, DatasetOptions(images=False))
    return out


@pytest.fixture
def write(tmp_path):
    def dump(value):
        path = tmp_path / "generated.json"
        path.write_text(json.dumps(value))
        return path

    return dump


def first_captions(derived, split=None):
    """Image entry and first caption of each image."""
    content = json.loads((derived / "captions.json").read_text())
    texts = {}
    for entry in content["annotations"]:
        texts.setdefault(entry["image_id"], entry["caption"])
    return [(image, texts[image["id"]]) for image in content["images"] if split in (None, image["split"])]


def test_slots_by_hand(make_facts):
    facts = make_facts(count=12, covered=0.3, type_counts={"a": 12, "b": 0}, small=0.9, touching=0.5)
    tie = make_facts(count=2, covered=0.04, type_counts={"a": 1, "b": 1}, touching=1.0)
    said = [
        (Slots(count=4, cell_type="a", confluence=4, size="small"), facts),  # all right
        (Slots(count=5, cell_type="b", confluence=2, size="large"), facts),  # 9 cells and 20 percent off
        (Slots(count=2, cell_type="a", crowding="touching"), tie),  # a type where there is no single one
        (Slots(), facts),
    ]
    scores = score_slots(said)
    assert scores["images"] == 4
    assert scores["count"] == {
        "true": 4,
        "stated": 3,
        "right": 2,
        "accuracy": 0.5,
        "precision": 0.6667,
        "error": {"mean": 3.0, "median": 0.0},
    }
    assert scores["cell_type"] == {"true": 3, "stated": 3, "right": 1, "accuracy": 0.3333, "precision": 0.3333}
    assert scores["confluence"]["error"] == {"mean": 10.0, "median": 10.0}
    assert scores["size"] == {"true": 3, "stated": 2, "right": 1, "accuracy": 0.3333, "precision": 0.5}
    assert scores["crowding"] == {"true": 1, "stated": 1, "right": 1, "accuracy": 1.0, "precision": 1.0}
    assert scores["shape"] == {"true": 4, "stated": 0, "right": 0, "accuracy": 0.0, "precision": None}


@pytest.mark.parametrize(
    "bucket, count, error", [(9, 400, 101), (9, 501, 0), (9, 9999, 0), (0, 3, 3), (3, 6, 0), (3, 13, 3)]
)
def test_the_count_error_is_the_way_to_the_bucket(make_facts, bucket, count, error):
    assert score_slots([(Slots(count=bucket), make_facts(count=count))])["count"]["error"]["mean"] == error


def test_true_captions_score_one(derived, write):
    path = write([{"image_id": image["id"], "caption": text} for image, text in first_captions(derived)])
    scores = score_captions(path, derived)
    assert set(scores) == {"train", "val", "test"}
    for values in scores.values():
        for slot in ("count", "cell_type", "confluence", "size", "crowding", "shape"):
            assert values[slot]["accuracy"] in (1.0, None) and values[slot]["precision"] in (1.0, None)
        assert values["count"]["error"]["mean"] == values["confluence"]["error"]["mean"] == 0
        # The first of several captions of an image: word for word one of its references.
        assert all(values["overlap"][name] == 1 for name in ("bleu1", "bleu4", "rouge"))
        assert values["overlap"]["cider"] > 2
    table = slot_table(scores)
    assert "BLEU-4 1.000, CIDEr-D " in table and "majority" in table
    assert "train: captions of" in table and "count error: mean 0, median 0 cells" in table


def test_file_names_and_one_split_do_as_well(derived, write):
    chosen = first_captions(derived, "test")
    by_name = write([{"image": image["file_name"], "caption": text} for image, text in chosen])
    assert list(score_captions(by_name, derived)) == ["test"]


def test_captions_of_other_images_score_low(derived, write):
    chosen = first_captions(derived)
    shifted = [text for _, text in chosen[9:] + chosen[:9]]
    path = write([{"image_id": image["id"], "caption": text} for (image, _), text in zip(chosen, shifted, strict=True)])
    scores = score_captions(path, derived)
    assert 0.2 < scores["train"]["overlap"]["bleu4"] < 0.9
    assert scores["train"]["count"]["accuracy"] < 0.6 and scores["train"]["count"]["error"]["mean"] > 1


def test_a_majority_says_what_is_most_often_true_in_training(derived, write):
    chosen = first_captions(derived)
    scores = score_captions(write([{"image_id": image["id"], "caption": "?"} for image, _ in chosen]), derived)
    types, described = read_described(derived)
    split = {name: [one for one in described if one.split == name] for name in ("train", "test")}
    values = {name: [slots_of(one.facts).count for one in part] for name, part in split.items()}
    most = Counter(sorted(values["train"])).most_common(1)[0][0]
    assert scores["test"]["count"]["majority"] == pytest.approx(np.mean([v == most for v in values["test"]]), abs=1e-4)
    assert scores["test"]["count"]["accuracy"] == 0 and scores["test"]["overlap"]["bleu1"] == 0


@pytest.mark.parametrize(
    "content, message",
    [
        ({}, "generated.json: expected a list of entries with image_id and caption"),
        ([], "generated.json: no captions"),
        ([{"image_id": 1}], "generated.json: entry 0: expected image_id and caption"),
        ([{"image_id": 1, "caption": "x"}, {"image_id": 999, "caption": "x"}], "entry 1: no image 999 in the data set"),
        ([{"image": "none.png", "caption": "x"}], "entry 0: no image 'none.png' in the data set"),
        ([{"image_id": 1, "caption": "x"}] * 2, "entry 1: a second caption of image 1; give one for each"),
        ([{"image_id": 1, "caption": "x"}], r": no caption of \w+, \w+, \w+, \w+, \w+ and \d+ more"),
    ],
)
def test_captions_that_cannot_be_used(derived, write, content, message):
    with pytest.raises(InputError, match=message):
        score_captions(write(content), derived)


def test_data_sets_that_cannot_be_used(derived, tmp_path):
    with pytest.raises(MissingFileError, match="facts.json: no such file"):
        read_described(tmp_path)
    content = json.loads((derived / "facts.json").read_text())
    for change, message in (
        ({"format": "other"}, "not the facts of a derived data set"),
        ({"images": None}, "class_names or images are missing"),
        ({"images": [3]}, r"images\[0\]: damaged facts"),
        ({"images": [{**content["images"][0], "image_id": "1"}]}, r"images\[0\]: lacks image_id or split"),
    ):
        (tmp_path / "facts.json").write_text(json.dumps({**content, **change}))
        with pytest.raises(InputError, match=message):
            read_described(tmp_path)
    with pytest.raises(MissingFileError):
        read_captions(tmp_path / "none.json", {})
