"""Tables of probabilities: files there and back, what rows may hold, and how models are put beside each other."""

import numpy as np
import pytest

from cellseg.errors import InputError, MissingFileError
from cellseg.multimodal.late_fusion import align, read_probabilities, save_probabilities

CSV = "id,split,label,group,bad,good\na,val,good,g,0.25,0.75\nb,test,,,0.5,0.5\n"


def test_a_table_comes_back_from_its_file(table, tmp_path):
    labels = np.where(np.arange(60) == 4, -1, table().labels)
    first = table(labels=labels, features=np.arange(120.0).reshape(60, 2))
    save_probabilities(tmp_path / "one.npz", first)
    again = read_probabilities(tmp_path / "one.npz")
    for name in ("name", "class_names", "ids", "splits", "groups"):
        assert getattr(again, name) == getattr(first, name)
    for name in ("labels", "probabilities", "features"):
        assert np.array_equal(getattr(again, name), getattr(first, name))
    assert again.source["file"] == "one.npz" and len(again.source["sha256"]) == 64


def test_a_csv_file(tmp_path):
    (tmp_path / "said.csv").write_text(CSV)
    read = read_probabilities(tmp_path / "said.csv", "speaker")
    assert (read.name, read.class_names, read.ids, read.splits) == (
        "speaker",
        ("bad", "good"),
        ("a", "b"),
        ("val", "test"),
    )
    assert read.labels.tolist() == [1, -1] and read.groups == ("g", "b")
    assert read.probabilities.tolist() == [[0.25, 0.75], [0.5, 0.5]] and read.features is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.25,0.75", "nan,0.75", "said: sample 'a': a probability is NaN ([nan, 0.75])"),
        ("0.25,0.75", "0.25,0.7", "said: sample 'a': the probabilities do not sum to 1 ([0.25, 0.7])"),
        ("0.25,0.75", "-0.5,1.5", "said: sample 'a': a probability is outside 0 to 1 ([-0.5, 1.5])"),
        ("0.25,0.75", "0.25", "{path}, line 2: expected a number for each of bad, good"),
        ("0.25,0.75", "0.25,x", "{path}, line 2: expected a number for each of bad, good"),
        ("b,test", "a,test", "said: id 'a' stands there twice"),
        ("bad,good", "good,good", "said: class 'good' stands there twice"),
        ("val,good", "val,great", "{path}: label 'great' outside the classes bad, good"),
        ("id,split", "name,split", "{path}: has no column 'id'; it has name, split, label, group, bad, good"),
    ],
)
def test_csv_files_that_cannot_be_used(tmp_path, old, new, message):
    path = tmp_path / "said.csv"
    path.write_text(CSV.replace(old, new, 1))
    with pytest.raises(InputError) as error:
        read_probabilities(path)
    assert str(error.value) == message.format(path=path)


def test_npz_files_that_cannot_be_used(table, tmp_path):
    with pytest.raises(MissingFileError, match="none.npz: no such file"):
        read_probabilities(tmp_path / "none.npz")
    np.savez(tmp_path / "part.npz", ids=np.array(["a"]))
    with pytest.raises(InputError, match=r"part.npz: has no array 'splits'; it has ids"):
        read_probabilities(tmp_path / "part.npz")
    save_probabilities(tmp_path / "good.npz", table())
    with np.load(tmp_path / "good.npz") as file:
        content = dict(file)
    for key, value, message in (
        ("class_names", np.array("a"), "class_names: expected a list of names, found an array []"),
        ("probabilities", content["probabilities"].astype(str), "probabilities: expected numbers, found <U"),
    ):
        np.savez(tmp_path / "odd.npz", **{**content, key: value})
        with pytest.raises(InputError) as error:
            read_probabilities(tmp_path / "odd.npz")
        assert str(error.value).startswith(f"{tmp_path / 'odd.npz'}: {message}")
    (tmp_path / "text.npz").write_text("no")
    with pytest.raises(InputError, match=r"text.npz: expected a .csv or .npz file of probabilities"):
        read_probabilities(tmp_path / "text.npz")
    with pytest.raises(InputError, match=r"one: expected a probability for each of 60 samples and 3 classes"):
        table(probabilities=np.ones((60, 2)) / 2)


def test_models_are_put_beside_each_other_by_id_and_class(table):
    first = table("one")
    order, columns = np.random.default_rng(5).permutation(60), [2, 0, 1]
    second = table(
        "two",
        class_names=tuple(first.class_names[index] for index in columns),
        ids=tuple(first.ids[index] for index in order),
        splits=tuple(first.splits[index] for index in order),
        labels=np.array([columns.index(label) for label in first.labels[order]]),
        probabilities=first.probabilities[order][:, columns],
    )
    samples = align([first, second], "val")
    assert samples.ids == tuple(f"s{index}" for index in range(1, 60, 3)) and samples.models == ("one", "two")
    assert np.array_equal(samples.probabilities[0], samples.probabilities[1])
    assert np.array_equal(samples.labels, first.labels[1::3])
    assert samples.groups == tuple(f"g{index}" for index in range(20))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(ids=tuple(f"t{index}" for index in range(60))), "two: has the sample 't1' in 'val', which one has not"),
        (
            dict(splits=("train",) * 4 + tuple(("train", "val", "test")[index % 3] for index in range(4, 60))),
            "two: has no sample 's1' in 'val', which one has",
        ),
        (
            dict(class_names=("bad", "good", "no")),
            "two: has the classes bad, good, no, and others have bad, good, so so; fuse models of one list of classes",
        ),
        (dict(labels=np.zeros(60, int)), "two: sample 's1' has another label than in one"),
        (dict(name="one"), "two models are called 'one'; give them names of their own, as NAME=PATH"),
    ],
)
def test_models_that_do_not_fit_each_other(table, changes, message):
    with pytest.raises(InputError) as error:
        align([table("one"), table(**{"name": "two", **changes})], "val")
    assert str(error.value) == message


def test_a_split_without_samples_or_labels(table):
    with pytest.raises(InputError, match="one: has no sample in the split 'dev'; it has the splits train, val, test"):
        align([table()], "dev")
    with pytest.raises(InputError, match="one: sample 's1' of the split 'val' has no label to be scored by"):
        align([table(labels=np.full(60, -1))], "val")
