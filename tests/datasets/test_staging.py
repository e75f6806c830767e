import json
import os

import pytest

from cellseg.datasets.folder import FORMAT
from cellseg.datasets.staging import check_out, staging
from cellseg.errors import InputError

SUMMARY = {"format": FORMAT, "class_names": [], "mean": [], "std": [], "folds": 1}


@pytest.fixture
def data_folder(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "dataset.json").write_text(json.dumps(SUMMARY))
    return folder


def test_the_folder_appears_when_the_block_succeeds(tmp_path):
    with staging(tmp_path / "new" / "data") as folder:
        (folder / "a.txt").write_text("a")
        assert not (tmp_path / "new" / "data").exists()
    assert (tmp_path / "new" / "data" / "a.txt").read_text() == "a"
    assert os.listdir(tmp_path / "new") == ["data"]
    assert (tmp_path / "new" / "data").stat().st_mode & 0o777 == (tmp_path / "new").stat().st_mode & 0o777


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_nothing_is_left_when_it_fails(data_folder, tmp_path, error):
    with pytest.raises(error), staging(data_folder) as folder:
        (folder / "a.txt").write_text("a")
        raise error
    assert os.listdir(tmp_path) == ["data"]
    assert os.listdir(data_folder) == ["dataset.json"]


def test_a_full_disk_is_one_line(tmp_path):
    with pytest.raises(InputError, match="data: cannot be written .No space left on device.; nothing was changed"):
        with staging(tmp_path / "data"):
            raise OSError(28, "No space left on device")
    assert os.listdir(tmp_path) == []


def test_an_old_folder_is_replaced(data_folder, tmp_path):
    with staging(data_folder) as folder:
        (folder / "a.txt").write_text("a")
    assert os.listdir(data_folder) == ["a.txt"]
    assert os.listdir(tmp_path) == ["data"]


def test_new_and_empty_folders_may_be_written(tmp_path):
    check_out(tmp_path / "new", [], overwrite=False)
    (tmp_path / "empty").mkdir()
    check_out(tmp_path / "empty", [], overwrite=False)
    with staging(tmp_path / "empty") as folder:
        (folder / "a.txt").write_text("a")
    assert os.listdir(tmp_path / "empty") == ["a.txt"]


def test_an_existing_folder_needs_overwrite(data_folder):
    with pytest.raises(InputError, match="data: exists; choose another --out, or replace it with --overwrite"):
        check_out(data_folder, [], overwrite=False)
    check_out(data_folder, [], overwrite=True)


def test_other_folders_are_never_replaced(tmp_path, data_folder):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(data_folder)
    for name, message in {
        "home": "is no data folder, so --overwrite leaves it alone",
        "file": "exists and is not a folder",
        "link": "exists and is not a folder",
    }.items():
        with pytest.raises(InputError, match=message):
            check_out(tmp_path / name, [], overwrite=True)


def test_foreign_files_and_inputs_inside_are_kept(data_folder):
    (data_folder / "images").mkdir()
    (data_folder / "images" / "a.png").touch()
    with pytest.raises(InputError, match="holds the input .*a.png, which --overwrite would remove"):
        check_out(data_folder, [data_folder / "images" / "a.png"], overwrite=True)
    (data_folder / "notes.txt").touch()
    with pytest.raises(InputError, match=r"holds files that are not its own \(notes.txt\); move them"):
        check_out(data_folder, [], overwrite=True)
