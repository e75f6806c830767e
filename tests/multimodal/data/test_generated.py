"""Synthetic data: no modality alone tells the answer, all together do."""

from collections import Counter

import numpy as np
import pytest

from cellseg.errors import InputError
from cellseg.multimodal.data.generated import read_generated
from cellseg.multimodal.data.patterns import DRAW, LEVEL_WORDS, PLACE_WORDS, draw_image, write_text

FRACTIONS = (0.8, 0.1, 0.1)
ALL_KINDS = ("image", "volume", "sequence", "text", "tabular")


def generate(seed=0, fractions=FRACTIONS, **options):
    return read_generated(fractions, seed, **{"noise": 0.0, "count": 400, **options}).records


def seen(kind, value, places=1):
    """The code that a modality shows, read off without noise."""
    if kind == "image":
        rows = int(np.ceil(np.sqrt(places)))
        middle = [int((place + 0.5) * value.shape[1] / rows) for place in range(rows)]
        return [float(value[0, middle[place // rows], middle[place % rows]]) for place in range(places)]
    if kind == "volume":
        middle = [int((place + 0.5) * value.shape[1] / places) for place in range(places)]
        return [float(value[0, place, 0, 0]) for place in middle]
    if kind == "sequence":
        return [float(np.sign(value[:, p].mean()) * np.abs(value[:, p]).mean()) for p in range(places)]
    if kind == "tabular":
        return [float(number) for number in value[:places]]
    words = value.split()
    middles = {word: (2 * level + 1) / len(LEVEL_WORDS) - 1 for level, word in enumerate(LEVEL_WORDS)}
    return [middles[words[words.index(PLACE_WORDS[p]) + 2]] for p in range(places)]


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_code_can_be_read_off_each_kind(kind):
    random = np.random.default_rng(0)
    for places in (1, 2, 5, 8):
        code = random.uniform(-1, 1, places)
        found = np.array(seen(kind, DRAW[kind](code, 0.0, random), places))
        # Words are coarse, and a sequence of no whole swings has another mean.
        assert np.abs(found - code).max() < (0.15 if kind in ("text", "sequence") else 1e-6)
        if kind != "text":
            assert DRAW[kind](code, 0.5, random).dtype == np.float32


@pytest.mark.parametrize(
    "kinds", [("image", "text"), ("volume", "tabular"), ("sequence", "image"), ("image", "text", "tabular")]
)
def test_the_class_is_the_parity_of_all_and_of_no_fewer(kinds):
    records = generate(kinds=kinds, count=600)
    signs = np.array([[seen(kind, record.inputs[kind])[0] > 0 for kind in kinds] for record in records])
    labels = np.array([record.targets["classification"] == "class 1" for record in records])
    np.testing.assert_array_equal(signs.sum(axis=1) % 2 == 1, labels)
    # With any modality left out, both classes are as likely whatever the others show.
    for left_out in range(len(kinds)):
        others = np.delete(signs, left_out, axis=1)
        for shown in np.unique(others, axis=0):
            share = labels[(others == shown).all(axis=1)].mean()
            assert 0.35 < share < 0.65


def test_more_classes_are_a_sum_modulo_their_number():
    records = generate(kinds=("image", "tabular"), outputs=3)
    for record in records:
        codes = [np.argmax(seen(kind, record.inputs[kind], 3)) for kind in ("image", "tabular")]
        assert record.targets["classification"] == f"class {sum(codes) % 3}"


def test_labels_and_numbers():
    for record in generate(kinds=("volume", "sequence"), task="multilabel", outputs=3):
        signs = [np.array(seen(kind, record.inputs[kind], 3)) < 0 for kind in ("volume", "sequence")]
        np.testing.assert_array_equal(record.targets["multilabel"], np.logical_xor(*signs).astype(float))
    records = generate(kinds=("image", "tabular"), task="regression", outputs=2)
    products = [
        np.prod([seen(kind, record.inputs[kind], 2) for kind in ("image", "tabular")], axis=0) for record in records
    ]
    truths = np.array([record.targets["regression"] for record in records])
    np.testing.assert_allclose(truths, products, atol=1e-6)
    alone = np.array([seen("image", record.inputs["image"], 2) for record in records])
    assert abs(np.corrcoef(alone[:, 0], truths[:, 0])[0, 1]) < 0.15


def test_redundant_modalities_show_the_same():
    for record in generate(kinds=("image", "tabular"), signal="redundant", outputs=3):
        codes = [np.argmax(seen(kind, record.inputs[kind], 3)) for kind in ("image", "tabular")]
        assert record.targets["classification"] == f"class {codes[0]}" and codes[0] == codes[1]


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_redundant_modalities_show_the_answer_itself(task):
    for record in generate(kinds=("image", "tabular"), signal="redundant", outputs=3, task=task):
        codes = [np.array(seen(kind, record.inputs[kind], 3)) for kind in ("image", "tabular")]
        np.testing.assert_allclose(codes[0], codes[1], atol=1e-6)
        expected = codes[0] if task == "regression" else codes[0] < 0
        np.testing.assert_allclose(record.targets[task], expected, atol=1e-6)


def test_splits_have_the_shares_that_were_asked_for():
    assert Counter(record.split for record in generate()) == {"train": 320, "val": 40, "test": 40}
    assert Counter(record.split for record in generate(fractions=(0.5, 0.0, 0.5))) == {"train": 200, "test": 200}


def test_the_seed_decides_everything():
    def texts(seed):
        records = generate(seed=seed, noise=0.3)
        return [(record.inputs["text"], record.inputs["image"].tobytes(), record.targets) for record in records]

    assert texts(1) == texts(1) != texts(2)


def test_missing_modalities():
    options = dict(kinds=("image", "tabular"), missing={"image": 0.3, "tabular": 0.9})
    records = generate(**options)
    assert all(record.inputs for record in records)
    share = np.mean(["image" not in record.inputs for record in records])
    assert 0.02 < share < 0.3 and 0.5 < np.mean(["tabular" not in record.inputs for record in records]) < 0.9
    only = generate(kinds=("image", "tabular"), missing={"image": 1.0}, missing_in=["test"])
    assert {("image" in record.inputs, record.split) for record in only} == {
        (True, "train"),
        (True, "val"),
        (False, "test"),
    }


def test_devices_measure_differently():
    records = generate(kinds=("tabular", "text"), signal="redundant", devices=3)
    levels = {}
    for record in records:
        key = record.targets["domain"], record.targets["classification"]
        levels.setdefault(key, set()).add(round(float(record.inputs["tabular"][0]), 4))
    # Without noise, a device shows a class at one level of its own.
    assert len(levels) == 6 and all(len(found) == 1 for found in levels.values())
    assert len({found.pop() for found in levels.values()}) == 6


@pytest.mark.parametrize("kind", ["image", "volume", "sequence", "tabular"])
def test_shortcuts_agree_as_often_as_their_environment_says(kind):
    kinds = {"one": kind, "two": "text"}
    records = generate(kinds=kinds, environments=[1.0, 0.7], shifted=0.0, count=1000, label_noise=0.2)
    agree = {}
    for record in records:
        value = record.inputs["one"]
        shown = {
            "image": lambda v=value: v[0, -1, 0],
            "volume": lambda v=value: v[0, -1, 0, 0],
            "sequence": lambda v=value: v[:, -1].mean(),
            "tabular": lambda v=value: v[-1],
        }[kind]()
        same = (shown > 0) == (record.targets["classification"] == "class 1")
        agree.setdefault(record.targets["environment"], []).append(same)
    assert {name: np.mean(found) for name, found in agree.items()} == {
        "environment 1": 1.0,
        "environment 2": pytest.approx(0.7, abs=0.07),
        "shifted": 0.0,
    }
    assert {record.targets["environment"] for record in records if record.split == "test"} == {"shifted"}


def test_label_noise_draws_classes_at_random():
    records = generate(kinds=("image", "tabular"), signal="redundant", label_noise=0.4, count=1000)
    right = [(seen("image", r.inputs["image"])[0] > 0) == (r.targets["classification"] == "class 1") for r in records]
    assert np.mean(right) == pytest.approx(0.8, abs=0.05)


def test_pictures_with_captions_and_questions():
    record = generate(task="captioning", outputs=4)[0]
    code = seen("image", record.inputs["image"], 4)
    for caption in record.captions:
        assert np.sign(seen("text", caption, 4)).tolist() == np.sign(code).tolist()
    assert "text" not in record.inputs and record.id.startswith("synthetic-")
    for record in generate(task="vqa", outputs=4):
        asked = PLACE_WORDS.index(record.inputs["text"].split()[2])
        answer = "yes" if seen("image", record.inputs["image"], 4)[asked] > 0 else "no"
        assert record.targets["vqa"] == (answer,)


def test_every_record_says_that_it_is_synthetic():
    for task in ("classification", "vqa", "matching"):
        assert all(record.id.startswith("synthetic") for record in generate(task=task))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"kinds": ["sound"]},
            "options.kinds: expected some of image, volume, sequence, text, tabular, found ['sound']",
        ),
        ({"kinds": []}, "options.kinds: expected some of "),
        ({"task": "sorting"}, "options.task: expected one of classification, "),
        ({"count": 5}, "options.count: expected 10 or more, found 5"),
        ({"count": 50.0}, "options.count: expected 10 or more, found 50.0"),
        ({"outputs": 1}, "options.outputs: expected 2 to 8, found 1"),
        ({"outputs": 9}, "options.outputs: expected 2 to 8, found 9"),
        ({"outputs": 0, "task": "regression"}, "options.outputs: expected 1 to 8, found 0"),
        ({"signal": "and"}, "options.signal: expected xor or redundant, found 'and'"),
        ({"noise": -1}, "options.noise: expected a number of at least 0, found -1"),
        ({"noise": float("nan")}, "options.noise: expected a number of at least 0, found nan"),
        ({"missing": {"volume": 0.5}}, "options.missing: expected modalities among image, text, found "),
        ({"missing": {"text": 2}}, "options.missing: expected shares of 0 to 1, found "),
        ({"missing_in": ["all"]}, "options.missing_in: expected some of train, val, test, found ['all']"),
        ({"devices": -1}, "options.devices: expected a whole number of at least 0, found -1"),
        ({"environments": [2]}, "options.environments: expected 0 to 1, found [2]"),
        ({"label_noise": 2}, "options.label_noise: expected 0 to 1, found 2"),
        ({"task": "vqa", "kinds": ["image"]}, "options.kinds: this task needs image and text, found ['image']"),
        (
            {"kinds": ["text", "image"], "environments": [0.5]},
            "options.environments: need the task classification and ",
        ),
        ({"task": "regression", "environments": [0.5]}, "options.environments: need the task classification and "),
        ({"task": "regression", "label_noise": 0.5}, "options.label_noise: needs the task classification"),
        ({"colour": 3}, "options: got an unexpected keyword argument 'colour'; expected are kinds, task, count, "),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError) as error:
        read_generated(FRACTIONS, 0, **options)
    assert str(error.value).startswith(message)


def test_names_of_features_and_numbers():
    read = read_generated(FRACTIONS, 0, kinds=("tabular", "image"), task="regression", outputs=2, count=20)
    assert read.names["tabular"] == ("first", "second", "noise 1", "noise 2")
    assert read.names["regression"] == ("regression 1", "regression 2")
    assert all(len(record.inputs["tabular"]) == 4 for record in read.records)
    shortcut = read_generated(FRACTIONS, 0, kinds=("tabular", "image"), environments=[0.9], outputs=3, count=20)
    assert len(shortcut.names["tabular"]) == len(shortcut.records[0].inputs["tabular"]) == 8


def test_words_say_levels_that_pictures_show():
    random = np.random.default_rng(0)
    assert write_text(np.array([-1.0, 0.0, 1.0]), 0.0, random).endswith(
        "the first is darkest and the second is middling and the third is brightest"
    )
    picture = draw_image(np.array([-1.0, 0.0, 1.0]), 0.0, random)
    assert picture[:, 0, 0].tolist() == [-1.0] * 3 and picture[:, -1, 0].tolist() == [1.0] * 3
    assert picture[:, 0, -1].tolist() == picture[:, -1, -1].tolist() == [0.0] * 3
