"""What a model must know of its data: survives JSON, and gives the numbers that placeholders stand for."""

import json

import pytest

from cellseg.errors import InputError
from cellseg.multimodal.data.description import DataDescription, ModalityDescription, fill_numbers
from cellseg.multimodal.data.tokenizer import WordPieceTokenizer

WORDS = WordPieceTokenizer.train(["a red dog"], 50)
FULL = DataDescription(
    tasks=("classification", "vqa"),
    modalities={
        "image": ModalityDescription("image", (3, 8, 8), (1.0, 2.0, 3.0), (1.0, 1.0, 2.0)),
        "lab": ModalityDescription("tabular", (2,), (0.0, 1.0), (1.0, 2.0), ("x", "y")),
        "wave": ModalityDescription("sequence", (5,), (0.0,) * 5, (1.0,) * 5),
        "text": ModalityDescription("text"),
    },
    class_names=("a", "b", "c"),
    class_weights=(1.0, 2.0, 0.5),
    answers=("yes", "no"),
    tokenizer=WORDS.to_json(),
    max_length=12,
)


def test_it_survives_json():
    assert DataDescription.from_dict(json.loads(json.dumps(FULL.to_dict())), "here") == FULL
    assert DataDescription.from_dict(FULL.to_dict(), "here") == FULL


def change(**entries):
    return json.loads(json.dumps(FULL.to_dict())) | entries


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"tasks": ["classification"]},
        change(colour=3),
        change(modalities={"lab": {"kind": "tabular", "shape": [2], "mean": [0], "std": [1, 1], "names": ["x", "y"]}}),
        change(modalities={"lab": {"kind": "smell"}}),
        change(modalities={"lab": 3}),
        change(modalities=None),
    ],
)
def test_damaged_descriptions_are_refused(values):
    with pytest.raises(InputError) as error:
        DataDescription.from_dict(values, "best.pth")
    assert str(error.value) == "best.pth: holds no description of multimodal data; train again"


def test_unknown_tasks_are_refused():
    with pytest.raises(InputError, match="best.pth: the description of its data has unknown tasks"):
        DataDescription.from_dict(change(tasks=["juggling"]), "best.pth")


def test_numbers_follow_from_the_data():
    assert FULL.numbers() == {
        "num_classes": 3,
        "class_weights": [1.0, 2.0, 0.5],
        "num_answers": 2,
        "vocabulary_size": WORDS.size,
        "pad": 0,
        "begin": 2,
        "end": 3,
        "separator": 4,
        "max_length": 12,
        "num_features": 2,
        "num_features_lab": 2,
        "num_channels": 5,
        "num_channels_wave": 5,
        "num_channels_image": 3,
    }


def test_of_two_tables_each_has_its_own_name_only():
    table = FULL.modalities["lab"]
    about = DataDescription((), {"lab": table, "snp": table, "image": FULL.modalities["image"]})
    assert about.numbers() == {"num_features_lab": 2, "num_features_snp": 2, "num_channels_image": 3}
    with pytest.raises(InputError, match="the data has no text, so there is no tokenizer"):
        about.words()


def test_regression_and_labels():
    about = DataDescription(
        ("regression",), {}, label_names=("u",), target_names=("v", "w"), target_mean=(1.0, 2.0), target_std=(3.0, 4.0)
    )
    assert about.numbers() == {"num_labels": 1, "num_targets": 2, "target_mean": [1.0, 2.0], "target_std": [3.0, 4.0]}


def test_placeholders_become_numbers_with_their_type():
    config = {
        "heads": {"a": {"num_classes": "{num_classes}", "weights": "{class_weights}", "name": "plain"}},
        "list": [{"v": "{vocabulary_size}"}, ("{num_answers}", 7)],
        "said": "of {num_classes} classes",
    }
    assert fill_numbers(config, FULL) == {
        "heads": {"a": {"num_classes": 3, "weights": [1.0, 2.0, 0.5], "name": "plain"}},
        "list": [{"v": WORDS.size}, (2, 7)],
        "said": "of {num_classes} classes",
    }


def test_a_placeholder_that_the_data_has_no_number_for():
    with pytest.raises(InputError) as error:
        fill_numbers({"heads": {"age": [{"outputs": "{num_targets}"}]}}, FULL)
    assert str(error.value).startswith(
        "model.heads.age.outputs: the data has no {num_targets}; it has begin, class_weights"
    )


def test_differences_are_named():
    other = DataDescription.from_dict(change(class_names=["a", "b", "d"], max_length=13), "here")
    assert FULL.differences(other) == ["class_names", "max_length"] and FULL.differences(FULL) == []
