"""Feature tables joined by id, and what is wrong with them."""

import sys

import numpy as np
import pytest

from cellseg.errors import InputError, MissingFileError
from cellseg.multimodal.data.features import read_any_rows, read_feature_table, read_features
from cellseg.multimodal.data.splits import group_records

TABLES = {"audio": "audio.npz", "clinical": "clinical.csv"}


@pytest.fixture
def folder(tmp_path, write_lines):
    values = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    np.savez(tmp_path / "audio.npz", ids=np.array([1, 2, 3]), values=values, lengths=np.array([2, 1, 2]))
    write_lines("clinical.csv", "id,age,sex", "1,30,0", "3,,", "4,50,")
    write_lines("labels.csv", "id,split,group,label,y", "4,val,g2,b,1.5", "1,train,g1,a,", "3,train,g1,a,2")
    return tmp_path


def test_a_group_may_be_called_as_in_other_tables(folder, write_lines):
    write_lines("labels.csv", "id,group_id,label", "4,g2,b", "1,g1,a", "3,g1,a")
    read = read_features(str(folder), TABLES, "labels.csv", {"classification": "label"})
    assert [record.group for record in read.records] == ["g2", "g1", "g1"] and read.group_by == ("group",)


def test_a_group_that_is_missing_in_one_row_is_no_group_of_its_own(folder, write_lines):
    write_lines("labels.csv", "id,group,label", "4,,b", "1,g1,a", "3,g1,a")
    read = read_features(str(folder), TABLES, "labels.csv", {"classification": "label"})
    with pytest.raises(InputError) as error:
        group_records(read.records, read.group_by)
    assert str(error.value).endswith(
        "labels.csv, line 2: has no group to be grouped by; choose another source.group_by"
    )


def test_tables_are_joined_by_id(folder):
    read = read_features(str(folder), TABLES, "labels.csv", {"classification": "label", "regression": ["y"]})
    assert [record.id for record in read.records] == ["4", "1", "3"]
    assert [sorted(record.inputs) for record in read.records] == [["clinical"], ["audio", "clinical"], ["audio"]]
    assert [(record.split, record.group) for record in read.records] == [
        ("val", "g2"),
        ("train", "g1"),
        ("train", "g1"),
    ]
    assert read.kinds == {"audio": "sequence", "clinical": "tabular"} and read.group_by == ("group",)
    assert read.names == {"clinical": ("age", "sex"), "regression": ("y",)}
    np.testing.assert_array_equal(read.records[0].inputs["clinical"], np.float32([50, np.nan]))
    np.testing.assert_array_equal(read.records[2].inputs["audio"], [[8, 9], [10, 11]])
    assert read.records[0].targets["classification"] == "b" and "regression" not in read.records[1].targets
    assert read.records[1].where == f"{folder / 'labels.csv'}, line 3"


def test_sequences_end_where_their_lengths_say(folder):
    table = read_feature_table(folder / "audio.npz")
    np.testing.assert_array_equal(table.values["2"], [[4, 5]])


def test_without_labels_every_id_is_a_record(folder):
    read = read_features(str(folder), TABLES)
    assert [record.id for record in read.records] == ["1", "2", "3", "4"] and read.group_by == ("row",)
    assert read.records[3].targets == {} and sorted(read.records[3].inputs) == ["clinical"]


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((2, 3), "tabular"), ((2, 3, 4), "sequence"), ((2, 3, 4, 4), "image"), ((2, 1, 3, 4, 4), "volume")],
)
def test_kinds_follow_from_dimensions(tmp_path, shape, kind):
    np.savez(tmp_path / "t.npz", ids=np.array(["a", "b"]), values=np.ones(shape, np.int16))
    table = read_feature_table(tmp_path / "t.npz")
    assert table.kind == kind and table.values["b"].shape == shape[1:] and table.values["b"].dtype == np.float32


def test_rows_without_any_number_lack_the_modality(tmp_path):
    values = np.array([[1, np.nan], [np.nan, np.nan]])
    np.savez(tmp_path / "t.npz", ids=np.array(["a", "b"]), values=values, names=np.array(["x", "y"]))
    table = read_feature_table(tmp_path / "t.npz")
    assert list(table.values) == ["a"] and table.names == ("x", "y")


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    import pandas

    pandas.DataFrame({"id": ["a", "b"], "x": [1.0, None], "y": [3, 4]}).to_parquet(tmp_path / "t.parquet")
    table = read_feature_table(tmp_path / "t.parquet")
    assert table.names == ("x", "y") and table.where["b"] == f"{tmp_path / 't.parquet'}, row 2"
    np.testing.assert_array_equal(table.values["b"], np.float32([np.nan, 4]))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="bad.parquet: not a parquet file"):
        read_feature_table(tmp_path / "bad.parquet")


def test_what_is_missing_in_a_parquet_file_is_no_name(folder, monkeypatch):
    import pandas

    # As pandas reads such a file: missing texts are NaN, and whole numbers beside missing ones floats.
    frame = pandas.DataFrame(
        {
            "id": [1, 3, 4],
            "label": ["a", float("nan"), pandas.NA],
            "level": [2.0, float("nan"), 1.0],
            "group": ["g", "h", "i"],
            "when": [pandas.NaT] * 3,
            "share": [1.0, 2.0, 3.0],
        }
    )
    monkeypatch.setattr(pandas, "read_parquet", lambda path: frame)
    (folder / "labels.parquet").touch()
    targets = {"classification": "label", "domain": "level", "environment": "when"}
    read = read_features(str(folder), TABLES, "labels.parquet", targets)
    assert [record.targets for record in read.records] == [
        {"classification": "a", "domain": "2"},
        {},
        {"domain": "1"},
    ]
    (_, rows) = read_any_rows(folder / "labels.parquet")
    assert [row["share"] for _, row in rows] == [1.0, 2.0, 3.0] and isinstance(rows[0][1]["share"], float)


def test_parquet_without_its_package(tmp_path, monkeypatch):
    for name in ("pyarrow", "fastparquet"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(
        InputError, match="t.parquet: parquet files need the package pyarrow; install it or write a csv"
    ):
        read_feature_table(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (dict(values=np.ones((2, 2))), ": has no array 'ids'; expected ids [N] and values [N, ...]"),
        (dict(ids=np.arange(2)), ": has no array 'values'"),
        (
            dict(ids=np.arange(3), values=np.ones((2, 2))),
            ": expected ids [N] and numbers in values [N, ...] with 2 to 5",
        ),
        (dict(ids=np.arange(2), values=np.ones(2)), ": expected ids [N] and numbers in values"),
        (dict(ids=np.arange(2), values=np.array([["a"], ["b"]])), ": expected ids [N] and numbers in values"),
        (dict(ids=np.array([1, 1]), values=np.ones((2, 2))), ", row 2: id '1' stands in {path}, row 1 already"),
        (dict(ids=np.arange(2), values=np.ones((2, 2)), names=np.array(["x"])), ": has 1 names for 2 features"),
        (dict(ids=np.arange(2), values=np.array([[1], [np.inf]])), ", row 2: holds values that are not finite"),
        (dict(ids=np.arange(1), values=np.array([[[1], [np.nan]]])), ", row 1: holds values that are not finite"),
        (
            dict(ids=np.arange(2), values=np.ones((2, 2)), lengths=np.ones(2, int)),
            ": lengths: expected a whole number for each row of a sequence",
        ),
        (
            dict(ids=np.arange(2), values=np.ones((2, 2, 2)), lengths=np.ones(3, int)),
            ": lengths: expected a whole number for each row of a sequence",
        ),
        (
            dict(ids=np.arange(2), values=np.ones((2, 2, 2)), lengths=np.array([1, 3])),
            ", row 2: length 3 is not within 1 to 2",
        ),
        (
            dict(ids=np.arange(2), values=np.ones((2, 2, 2)), lengths=np.array([0, 1])),
            ", row 1: length 0 is not within 1 to 2",
        ),
        (dict(ids=np.array([{}], object), values=np.ones((1, 1))), ": cannot be read as an npz file of plain arrays"),
    ],
)
def test_bad_npz_files(tmp_path, arrays, message):
    path = tmp_path / "t.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError) as error:
        read_feature_table(path)
    assert str(error.value).startswith(f"{path}{message.format(path=path)}")


def test_a_file_that_is_no_npz(tmp_path):
    (tmp_path / "t.npz").write_bytes(b"not a zip file")
    with pytest.raises(InputError, match="t.npz: cannot be read as an npz file of plain arrays"):
        read_feature_table(tmp_path / "t.npz")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["id,x", "1,2", "1,3"], ", line 3: id '1' stands in {path}, line 2 already"),
        (["name,x", "1,2"], ", line 2: has no id; expected it in the column 'id' (options.id_column)"),
        (["id,x", ",2"], ", line 2: has no id; expected it in the column 'id' (options.id_column)"),
        (["id,x", "1,two"], ", line 2: x: expected a number, found 'two'"),
    ],
)
def test_bad_csv_files(tmp_path, write_lines, lines, message):
    path = write_lines("t.csv", *lines)
    with pytest.raises(InputError) as error:
        read_feature_table(path)
    assert str(error.value).startswith(f"{path}{message.format(path=path)}")


@pytest.mark.parametrize(
    ("tables", "line", "message"),
    [
        ({}, "1,a", "options.tables: expected a file for each modality, found {{}}"),
        ({"audio": "none.npz"}, "1,a", "{root}/none.npz: no such file; name it with options.tables"),
        (TABLES, "9,a", "{root}/labels.csv, line 2: id '9' stands in none of audio.npz, clinical.csv"),
        (TABLES, "1,a", None),
        (TABLES, "3,a", "{root}: modality 'clinical' is missing in all rows; leave it out"),
    ],
)
def test_tables_that_do_not_fit(folder, write_lines, tables, line, message):
    write_lines("labels.csv", "id,label", line)
    if message is None:
        assert len(read_features(str(folder), tables, "labels.csv").records) == 1
        return
    with pytest.raises(InputError) as error:
        read_features(str(folder), tables, "labels.csv")
    assert str(error.value).startswith(message.format(root=folder))


def test_labels_that_do_not_exist(folder):
    with pytest.raises(MissingFileError, match="none.csv: no such file; name it with options.labels"):
        read_features(str(folder), TABLES, "none.csv")
