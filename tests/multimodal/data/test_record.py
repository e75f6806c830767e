"""Records: what makes a set unusable."""

import pytest

from cellseg.errors import InputError
from cellseg.multimodal.data.record import Record, RecordSet, plain_text, read_split, require_text


def record(identity, where="f, line 2", **inputs):
    return Record(identity, inputs, where=where)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "f.csv: holds no records"),
        (
            [record("a", "f, line 2", text="x"), record("a", "f, line 3", text="x")],
            "f, line 3: id 'a' stands in f, line 2 already",
        ),
        ([record("a", text="x"), record("b", "f, line 3")], "f, line 3: has no input; expected text or image"),
        ([record("a", text="x")], "f.csv: modality 'image' is missing in all rows; leave it out"),
    ],
)
def test_sets_that_cannot_be_used(records, message):
    with pytest.raises(InputError) as error:
        RecordSet(records, {"text": "text", "image": "image"}, where="f.csv").check()
    assert str(error.value) == message


def test_a_set_with_a_modality_that_some_rows_lack_is_fine():
    records = RecordSet([record("a", text="x"), record("b", image="y")], {"text": "text", "image": "image"})
    assert records.check() is records


@pytest.mark.parametrize(
    ("name", "split"),
    [("train", "train"), ("restval", "train"), ("VAL", "val"), (" dev ", "val"), ("valid", "val"), ("test", "test")],
)
def test_names_of_splits(name, split):
    assert read_split(name, "here") == split


def test_an_unknown_split_is_refused():
    with pytest.raises(InputError) as error:
        read_split("holdout", "f, line 2")
    assert str(error.value).startswith("f, line 2: split 'holdout' is none of train, restval, val, ")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "f: caption: expected a text, found None"),
        (3, "f: caption: expected a text, found 3"),
        (" \n", "f: caption is empty"),
    ],
)
def test_texts_that_say_nothing_are_refused(value, message):
    with pytest.raises(InputError) as error:
        require_text(value, "f", "caption")
    assert str(error.value) == message


def test_plain_texts_differ_in_words_only():
    assert plain_text("  Two\tDOGS \n play") == plain_text("two dogs play") != plain_text("two dogs played")
