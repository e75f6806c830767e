"""Files that are complete or absent."""

import hashlib
import os
import stat

import pytest

from cellseg.errors import InputError, MissingFileError
from cellseg.io import files
from cellseg.io.files import atomic_path, file_hash, read_json, write_json, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_file_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "new" / "folder" / "picture.png"
    with atomic_path(target) as temporary:
        assert temporary.suffix == ".png" and temporary.parent == target.parent
        temporary.write_bytes(b"half")
        assert not target.exists()
        temporary.write_bytes(b"whole")
    assert target.read_bytes() == b"whole" and names(target.parent) == ["picture.png"]


@pytest.mark.parametrize("before", [None, b"old"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(tmp_path, before, error):
    target = tmp_path / "result.csv"
    if before is not None:
        target.write_bytes(before)
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert names(tmp_path) == ([] if before is None else ["result.csv"])
    assert before is None or target.read_bytes() == before


def test_a_failing_rename_leaves_what_was_there(tmp_path, monkeypatch):
    target = tmp_path / "result.csv"
    target.write_text("old")

    def fail(*paths):
        raise OSError("disk gone")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="disk gone"):
        write_text(target, "new")
    assert target.read_text() == "old" and names(tmp_path) == ["result.csv"]


def test_the_content_is_on_disk_before_it_takes_the_name(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: order.append("sync") or fsync(descriptor))
    monkeypatch.setattr(files.os, "replace", lambda *paths: order.append("rename") or replace(*paths))
    write_text(tmp_path / "a.txt", "x")
    assert order == ["sync", "rename", "sync"]


def test_permissions_are_those_of_any_new_file(tmp_path):
    previous = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_text_is_written_as_it_is(tmp_path):
    write_text(tmp_path / "a.txt", "grün\r\n\n")
    assert (tmp_path / "a.txt").read_bytes() == "grün\r\n\n".encode()


def test_equal_values_make_equal_files(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": [0.1, None, "é"]})
    write_json(tmp_path / "b.json", {"a": [0.1, None, "é"], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert (tmp_path / "a.json").read_text().endswith("}\n")
    assert read_json(tmp_path / "a.json") == {"a": [0.1, None, "é"], "b": 1}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_has_not_are_refused(tmp_path, value):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"score": value})
    assert names(tmp_path) == []


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFileError) as error:
        read_json(tmp_path / "none.json")
    assert str(error.value) == f"{tmp_path / 'none.json'}: no such file"


@pytest.mark.parametrize(
    ("content", "reason"), [(b'{"a": 1', "line 1 column 8"), (b"", "line 1 column 1"), (b"\xff\xfe", "utf-8")]
)
def test_what_is_not_json_is_named_with_its_place(tmp_path, content, reason):
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(InputError) as error:
        read_json(tmp_path / "bad.json")
    assert str(error.value).startswith(f"{tmp_path / 'bad.json'}: not a JSON file (") and reason in str(error.value)


def test_the_hash_is_that_of_the_content(tmp_path, monkeypatch):
    content = os.urandom(3 << 20)
    (tmp_path / "a.bin").write_bytes(content)
    expected = hashlib.sha256(content).hexdigest()
    assert file_hash(tmp_path / "a.bin") == expected
    monkeypatch.delattr(hashlib, "file_digest", raising=False)  # as in Python 3.10
    assert file_hash(tmp_path / "a.bin") == expected
