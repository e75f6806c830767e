"""Scores of captions by slot."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest

from cellseg.errors import InputError, MissingFileError
from cellseg.multimodal.derive.dataset import DatasetOptions, derive_dataset
from cellseg.multimodal.derive.described import read_captions, read_described, read_wanted
from cellseg.multimodal.derive.phrases import Slots, slots_of
from cellseg.multimodal.derive.slot_scores import EVERY, Said, score_captions, score_replies, score_slots
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
        Said(Slots(count=4, cell_type="a", confluence=4, size="small"), facts),  # all right
        Said(Slots(count=5, cell_type="b", confluence=2, size="large"), facts),  # 9 cells and 20 percent off
        Said(Slots(count=2, cell_type="a", crowding="touching"), tie),  # a type where there is no single one
        Said(Slots(), facts),
    ]
    scores = score_slots(said)
    assert scores["captions"] == 4
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
    assert score_slots([Said(Slots(count=bucket), make_facts(count=count))])["count"]["error"]["mean"] == error


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
    assert "train: what 9 captions say" in table and "count error: mean 0, median 0 cells" in table


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


def replies_of(derived, split="test"):
    """The first reply to each prompt about the images of a split."""
    content = json.loads((derived / "splits" / split / "prompts.json").read_text())
    first = {}
    for entry in content["annotations"]:
        first.setdefault((entry["image_id"], entry["prompt"]), entry)
    return list(first.values())


def generated(entry, caption=None):
    return {name: entry[name] for name in ("image_id", "prompt")} | {"caption": caption or entry["caption"]}


def test_true_replies_say_just_what_is_asked_for(derived, write):
    replies = replies_of(derived)
    scores = score_captions(write([generated(entry) for entry in replies]), derived)
    assert list(scores) == ["test"]
    values, kinds = scores["test"], Counter(entry["prompt_type"] for entry in replies)
    assert {kind: one["replies"] for kind, one in values["replies"].items()} == {**kinds, EVERY: len(replies)}
    assert {one["accuracy"] for one in values["replies"].values()} == {1.0}
    assert 0 < values["replies"][EVERY]["majority"] < 1
    assert all(values[slot]["accuracy"] in (1.0, None) for slot in ("count", "cell_type", "confluence", "size"))
    # Only replies that are asked for a slot are asked whether it is right.
    assert values["count"]["true"] == kinds["count"] + kinds["all"] == 2 * kinds["count"] < values["captions"]
    assert values["overlap"]["bleu4"] == 1
    table = slot_table(scores)
    assert f"test: what {len(replies)} captions say" in table and "test: just what is asked for" in table


def test_replies_that_say_everything_are_no_replies(derived, write):
    everything = {entry["image_id"]: entry["caption"] for entry in replies_of(derived) if entry["prompt_type"] == "all"}
    path = write([generated(entry, everything[entry["image_id"]]) for entry in replies_of(derived)])
    values = score_captions(path, derived)["test"]
    assert values["count"]["accuracy"] == values["cell_type"]["accuracy"] == 1.0
    assert values["replies"]["all"]["accuracy"] == 1.0 and values["replies"]["confluence"]["accuracy"] == 0.0
    assert values["overlap"]["bleu4"] < 0.8


def test_replies_by_hand(make_facts):
    few, many = make_facts(count=3, covered=0.01), make_facts(count=30, covered=0.3)
    said = [
        Said(Slots(count=2), few, "count"),
        Said(Slots(count=2), many, "count"),
        Said(Slots(count=2, confluence=1), few, "count"),  # right, and not asked for
        Said(Slots(confluence=4), many, "confluence"),
        Said(Slots(), few, "confluence"),
    ]
    train = [Said(Slots(), facts, kind) for facts in (few, many, many) for kind in ("count", "confluence")]
    assert score_replies(said, train) == {
        "count": {"replies": 3, "accuracy": 0.3333, "majority": 0.3333},
        "confluence": {"replies": 2, "accuracy": 0.5, "majority": 0.5},
        EVERY: {"replies": 5, "accuracy": 0.4, "majority": 0.4},
    }
    nothing = Said(Slots(count=0, confluence=0), make_facts(count=0, covered=0.0), "count")
    assert score_replies([nothing], [nothing])["count"] == {"replies": 1, "accuracy": 1.0, "majority": 1.0}
    assert score_slots(said)["count"] == {
        "true": 3,
        "stated": 3,
        "right": 2,
        "accuracy": 0.6667,
        "precision": 0.6667,
        "error": {"mean": 8.3333, "median": 0.0},
    }


def test_images_without_facts_are_named(derived, write, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(derived, root)
    content = json.loads((root / "facts.json").read_text())
    lost = content["images"].pop()["image_id"]
    (root / "facts.json").write_text(json.dumps(content))
    path = write([generated(entry) for entry in replies_of(derived)])
    with pytest.raises(InputError, match=f"facts.json: has no facts of image {lost}; run derive_text.py dataset again"):
        score_captions(path, root)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda replies: [*replies, {"image_id": replies[0]["image_id"], "caption": "x"}],
            "some captions have a prompt",
        ),
        (lambda replies: [*replies, replies[0]], r"entry \d+: a second caption of image \d+ to '"),
        (
            lambda replies: [*replies, {**replies[0], "prompt": "why?"}],
            "image \\d+: the data set does not ask 'why\\?'",
        ),
        (lambda replies: [{**replies[0], "prompt": 3}], "entry 0: prompt: expected a text, found 3"),
        (lambda replies: replies[1:], r"test: no caption of \w+ \(.+\)$"),
    ],
)
def test_replies_that_cannot_be_used(derived, write, change, message):
    with pytest.raises(InputError, match=message):
        score_captions(write(change([generated(entry) for entry in replies_of(derived)])), derived)


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
    with pytest.raises(MissingFileError, match="prompts.json: no such file, data sets of older versions lack it"):
        read_wanted(tmp_path, prompted=True)
    content = json.loads((derived / "prompts.json").read_text())
    for change in ({"prompt_type": "why"}, {"image_id": 10**6}):
        damaged = {**content, "annotations": [{**content["annotations"][0], **change}]}
        (tmp_path / "prompts.json").write_text(json.dumps(damaged))
        with pytest.raises(InputError, match="prompts.json: damaged, .* run derive_text.py dataset again"):
            read_wanted(tmp_path, prompted=True)
