"""Samples: tensors of every modality and target, zeros where something is absent, and what answers are scored with."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from cellseg.errors import InputError
from cellseg.multimodal.data.description import DataDescription, ModalityDescription
from cellseg.multimodal.data.images import ImageAugmentation
from cellseg.multimodal.data.record import Record
from cellseg.multimodal.data.sampling import SampleMaker
from cellseg.multimodal.data.tokenizer import BEGIN, END, WordPieceTokenizer

WORDS = WordPieceTokenizer.train(["a red dog", "what is it"], 100)
ALL = DataDescription(
    tasks=("classification", "multilabel", "regression", "vqa", "matching", "captioning", "domain"),
    modalities={
        "image": ModalityDescription("image", (3, 2, 4), (0, 10, 20), (1, 2, 5)),
        "text": ModalityDescription("text"),
        "lab": ModalityDescription("tabular", (3,), (1, 2, 3), (1, 2, 4), ("a", "b", "c")),
        "wave": ModalityDescription("sequence", (2,), (0, 1), (1, 2)),
        "scan": ModalityDescription("volume", (1, 2, 2), (1,), (2,)),
    },
    class_names=("bad", "good"),
    label_names=("cough", "fever"),
    target_names=("height", "weight"),
    domains=("x", "y", "z"),
    answers=("yes", "no", "2"),
    tokenizer=WORDS.to_json(),
    max_length=6,
)
MAKER = SampleMaker(ALL)


def make(inputs, targets=None, captions=(), **options):
    return MAKER.make(Record("r", inputs, targets or {}, captions, group="g", where="f, line 2"), **options)


def test_pictures_are_standardised(tmp_path):
    Image.fromarray(np.full((2, 4, 3), (30, 20, 10), np.uint8)).save(tmp_path / "a.png")
    part = make({"image": tmp_path / "a.png"})["inputs"]["image"]
    assert part["values"].shape == (3, 2, 4) and part["present"] and "mask" not in part
    assert part["values"][:, 1, 3].tolist() == [30, 5, -2]
    array = make({"image": np.full((3, 2, 4), 10.0)})["inputs"]["image"]["values"]
    assert array[:, 0, 0].tolist() == [10, 0, -2]


def test_texts_are_numbers_from_begin_to_end():
    part = make({"text": "A red dog"})["inputs"]["text"]
    assert part["values"].tolist() == WORDS.encode("a red dog") and part["values"].dtype == torch.int64
    assert part["mask"].all() and part["present"]
    cut = make({"text": "a red dog a red dog"})["inputs"]["text"]["values"].tolist()
    assert len(cut) == 6 and (cut[0], cut[-1]) == (BEGIN, END)


def test_unknown_numbers_are_zero_and_masked():
    part = make({"lab": np.array([3, np.nan, 1])})["inputs"]["lab"]
    assert part["values"].tolist() == [2, 0, -0.5] and part["mask"].tolist() == [True, False, True]


def test_sequences_and_volumes():
    wave = make({"wave": np.array([[1, 1], [2, 3], [4, 5]])})["inputs"]["wave"]
    assert wave["values"].tolist() == [[1, 0], [2, 1], [4, 2]] and wave["mask"].tolist() == [True] * 3
    scan = make({"scan": np.arange(12).reshape(1, 3, 2, 2)})["inputs"]["scan"]
    assert scan["values"].shape == (1, 3, 2, 2) and scan["values"][0, 2, 1, 1] == 5
    assert scan["mask"].tolist() == [True] * 3


def test_what_a_record_lacks_is_zero_and_absent():
    sample = make({"text": "a dog"})
    for name, shape in dict(image=(3, 2, 4), lab=(3,), wave=(1, 2), scan=(1, 1, 2, 2)).items():
        part = sample["inputs"][name]
        assert part["values"].shape == shape and not part["values"].any() and not part["present"]
        assert name == "image" or not part["mask"].any()
    text = make({"lab": np.zeros(3)})["inputs"]["text"]
    assert text["values"].tolist() == [0] and not text["mask"].any() and not text["present"]
    assert set(sample["targets"]) == set(ALL.tasks)
    for task, target in sample["targets"].items():
        assert not target["present"] and not target["values"].any()
        assert "mask" not in target or not target["mask"].any(), task
    assert sample["sample"] == {"id": "r", "group": "g", "where": "f, line 2", "truth": {}}


@pytest.mark.parametrize(
    ("task", "raw", "values", "truth"),
    [
        ("classification", "good", 1, 1),
        ("domain", "z", 2, 2),
        ("multilabel", np.float32([1, 0]), [1, 0], [1, 0]),
        ("regression", np.float32([2.5, -1]), [2.5, -1], [2.5, -1]),
        ("vqa", ("yes",), [1, 0, 0], ["yes"]),
        ("vqa", ("Yes!", "two", "2", "2", "blue"), [1 / 3, 0, 1], ["yes", "2", "2", "2", "blue"]),
        ("captioning", "a dog", WORDS.encode("a dog"), ["a dog"]),
    ],
)
def test_targets(task, raw, values, truth):
    sample = make({"text": "a dog"}, {task: raw})
    target = sample["targets"][task]
    torch.testing.assert_close(target["values"], torch.tensor(values), check_dtype=False)
    assert target["present"] and sample["sample"]["truth"] == {task: truth}
    whole = task in ("classification", "domain", "captioning")
    assert target["values"].dtype == (torch.int64 if whole else torch.float32)
    assert "mask" not in target or target["mask"].all()


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_unknown_targets_are_masked(task):
    target = make({"text": "x"}, {task: np.float32([np.nan, 1])})["targets"][task]
    assert target["values"].tolist() == [0, 1] and target["mask"].tolist() == [False, True] and target["present"]


def test_captions_are_scored_against_all_that_is_true():
    sample = make({"text": "what is it"}, {"captioning": "a dog"}, ("a dog", "a red dog"))
    assert sample["sample"]["truth"]["captioning"] == ["a dog", "a red dog"]
    assert sample["targets"]["captioning"]["mask"].all()


def test_matching_says_what_is_equal(tmp_path):
    Image.new("RGB", (4, 2)).save(tmp_path / "a.png")

    def one(text, image=tmp_path / "a.png", label=True):
        sample = make({"image": image, "text": text}, {"matching": label}, ("A dog",))
        return sample["targets"]["matching"], sample["sample"]["truth"]["matching"]

    target, truth = one("a  DOG")
    assert target["values"] == 1.0 and truth == {
        "label": 1,
        "image": str(tmp_path / "a.png"),
        "text": "a dog",
        "captions": ["a dog"],
    }
    same, other = one("a dog")[0]["ids"], one("a cat", label=False)[0]
    assert torch.equal(target["ids"], same) and other["values"] == 0.0
    assert other["ids"][0] == same[0] and other["ids"][1] != same[1]
    first, second = (one("a dog", np.full((3, 2, 4), value)) for value in (1.0, 2.0))
    assert first[0]["ids"][0] != second[0]["ids"][0] and first[1]["image"] != second[1]["image"]


def test_pictures_vary_only_with_an_augmentation():
    picture = {"image": np.arange(24.0).reshape(3, 2, 4)}
    plain = make(picture)["inputs"]["image"]["values"]
    assert torch.equal(plain, make(picture)["inputs"]["image"]["values"])
    torch.manual_seed(0)
    varied = [make(picture, augmentation=ImageAugmentation(True))["inputs"]["image"]["values"] for _ in range(20)]
    assert {torch.equal(other, plain) for other in varied} == {True, False}
    assert all(torch.equal(other, plain) or torch.equal(other, plain.flip(2)) for other in varied)


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (
            {"text": "x"},
            {"classification": "ugly"},
            "f, line 2: label 'ugly' outside the classes of classification (bad, good)",
        ),
        ({"text": "x"}, {"domain": "w"}, "f, line 2: label 'w' outside the classes of domain (x, y, z)"),
        ({"lab": np.ones(4)}, {}, "f, line 2: a modality of kind tabular has the form [4], rows before it have [3]"),
        (
            {"wave": np.ones((2, 3))},
            {},
            "f, line 2: a modality of kind sequence has the form [3], rows before it have [2]",
        ),
        (
            {"image": np.ones((3, 2, 3))},
            {},
            "f, line 2: a modality of kind image has the form [3, 2, 3], rows before it ",
        ),
        ({"image": np.ones(3)}, {}, "f, line 2: expected numbers [3, height, width] for a modality of kind image"),
    ],
)
def test_rows_that_cannot_be_used(inputs, targets, message):
    with pytest.raises(InputError) as error:
        make(inputs, targets)
    assert str(error.value).startswith(message)


def test_a_sample_holds_plain_values_beside_its_tensors():
    sample = make({"text": "x"}, {"regression": np.float32([1, 2]), "vqa": ("a", "b")})["sample"]
    assert json.loads(json.dumps(sample)) == sample
