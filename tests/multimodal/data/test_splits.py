"""Splits: groups stay together, shares come out, and the seed decides."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellseg.errors import InputError
from cellseg.multimodal.data.record import Record
from cellseg.multimodal.data.splits import assign_splits, group_records

FRACTIONS = (0.6, 0.2, 0.2)


def record(identity, image=None, text=None, captions=(), group=None, split=None, **targets):
    inputs = {name: value for name, value in (("image", image and Path(image)), ("text", text)) if value is not None}
    return Record(identity, inputs, targets, tuple(captions), split, group, where=f"row {identity}")


def split_ids(records, split_by=None, group_by=("row",), fractions=FRACTIONS, seed=0):
    splits = assign_splits(records, split_by, group_by, fractions, seed)
    return {name: [item.id for item in found] for name, found in splits.items()}


def grouped(records, *group_by):
    return sorted(sorted(records[index].id for index in group) for group in group_records(records, group_by))


RECORDS = [
    record("a", "dev-1-0.png", "A red box"),
    record("b", "dev-1-1.png", "a  RED box"),
    record("c", "dev-2-0.png", "a red box"),
    record("d", "dev-3-0.png", "two boxes"),
    record("e", "dev-3-0.png", "no boxes"),
    record("f", "dev-30.png", "many"),
]


@pytest.mark.parametrize(
    ("group_by", "groups"),
    [
        (["row"], [["a"], ["b"], ["c"], ["d"], ["e"], ["f"]]),
        (["image"], [["a"], ["b"], ["c"], ["d", "e"], ["f"]]),
        (["sentence"], [["a", "b", "c"], ["d"], ["e"], ["f"]]),
        (["presentation"], [["a", "b"], ["c"], ["d", "e"], ["f"]]),
        (["sentence", "presentation"], [["a", "b", "c"], ["d", "e"], ["f"]]),
    ],
)
def test_what_belongs_together(group_by, groups):
    assert grouped(RECORDS, *group_by) == groups


def test_any_caption_in_common_keeps_pictures_together():
    records = [record("a", captions=["x", "y"]), record("b", captions=["Y"]), record("c", captions=["z"])]
    assert grouped(records, "sentence") == [["a", "b"], ["c"]]


def test_groups_domains_and_environments():
    records = [
        record("a", group="1", domain="x"),
        record("b", group="1", domain="y"),
        record("c", group="2", domain="y"),
    ]
    assert grouped(records, "group") == [["a", "b"], ["c"]]
    assert grouped(records, "domain") == [["a"], ["b", "c"]]
    assert grouped(records, "group", "domain") == [["a", "b", "c"]]


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=40), st.integers(0, 3))
def test_no_group_is_torn_apart_and_nothing_is_lost(pairs, seed):
    records = [record(str(n), group=str(one), domain=str(two)) for n, (one, two) in enumerate(pairs)]
    splits = assign_splits(records, None, ("group", "domain"), FRACTIONS, seed)
    assert sorted(item.id for found in splits.values() for item in found) == sorted(item.id for item in records)
    for attribute in (lambda item: item.group, lambda item: item.targets["domain"]):
        homes = {}
        for name, found in splits.items():
            for item in found:
                assert homes.setdefault(attribute(item), name) == name


@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (1.0, 0.0, 0.0), (0.7, 0.0, 0.3)])
def test_shares_come_out(fractions):
    records = [record(str(index)) for index in range(200)]
    found = split_ids(records, fractions=fractions)
    assert [len(ids) for ids in found.values()] == [round(200 * fraction) for fraction in fractions]


def test_the_seed_decides_and_the_order_of_rows_does_not():
    records = [record(str(index)) for index in range(50)]
    first = split_ids(records)
    assert first == split_ids(records) and first != split_ids(records, seed=1)
    turned = split_ids(records[::-1])
    assert {name: sorted(ids) for name, ids in turned.items()} == {name: sorted(ids) for name, ids in first.items()}
    assert first["train"] == [item.id for item in records if item.id in first["train"]]


def test_what_the_file_says():
    records = [record("a", split="val"), record("b", split="train"), record("c", split="val")]
    assert split_ids(records) == split_ids(records, "file") == {"train": ["b"], "val": ["a", "c"], "test": []}
    assert split_ids(records, "group", fractions=(1.0, 0.0, 0.0))["train"] == ["a", "b", "c"]
    # One row without a split: whatever it is given, rows that the file keeps for testing must not train.
    mixed = [*records, record("d")]
    assert split_ids(mixed, "group", fractions=(1.0, 0.0, 0.0))["train"] == ["a", "b", "c", "d"]
    for split_by in ("file", None):
        with pytest.raises(InputError) as error:
            split_ids(mixed, split_by)
        expected = "row d: has no split, and others have one; fill it in, or use source.split_by='group'"
        assert str(error.value) == expected
    with pytest.raises(InputError) as error:
        split_ids([record("d")], "file")
    assert str(error.value) == "row d: has no split; use source.split_by='group'"


def test_pictures_of_whatever_modality_keep_their_rows_together():
    def pictures(identity, **files):
        return Record(identity, {name: Path(file) for name, file in files.items()} | {"age": [1.0]}, {})

    records = [
        pictures("a", rgb="1.png", slope="s1.png"),
        pictures("b", rgb="2.png"),
        pictures("c", rgb="3.png", slope="s1.png"),
        pictures("d"),
        pictures("e"),
        pictures("f", slope="2.png"),
    ]
    # Rows without a picture stand for themselves.
    assert grouped(records, "image") == [["a", "c"], ["b", "f"], ["d"], ["e"]]


@pytest.mark.parametrize(
    ("group_by", "message"),
    [
        (["well"], "source.group_by: expected some of row, image, sentence, presentation, group, domain, environment"),
        ([], "source.group_by: expected some of "),
        (["image"], "row x: has no image file to be grouped by; choose another source.group_by"),
        (["presentation"], "row x: has no image file to be grouped by"),
        (["sentence"], "row x: has no text to be grouped by"),
        (["group"], "row x: has no group to be grouped by"),
        (["domain"], "row x: has no domain to be grouped by"),
    ],
)
def test_records_that_cannot_be_grouped(group_by, message):
    with pytest.raises(InputError) as error:
        assign_splits([record("x")], None, group_by, FRACTIONS, 0)
    assert str(error.value).startswith(message)
