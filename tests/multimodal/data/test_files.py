"""Files of a data set: found below its folder, and nowhere else."""

from pathlib import Path

import pytest

from cellseg.errors import InputError, MissingFileError
from cellseg.multimodal.data.files import by_split, file_in, find_file, find_images, open_root, pair_by_split


@pytest.fixture
def folder(tmp_path):
    inside = tmp_path / "data"
    (inside / "deep").mkdir(parents=True)
    (inside / "a.png").write_text("x")
    (inside / "deep" / "b.png").write_text("x")
    (tmp_path / "secret.png").write_text("x")
    (inside / "way_out.png").symlink_to(tmp_path / "secret.png")
    (inside / "way_in.png").symlink_to(inside / "a.png")
    return inside


@pytest.mark.parametrize("name", ["a.png", "deep/b.png", "deep\\b.png", "./a.png", "way_in.png"])
def test_files_inside_are_found(folder, name):
    assert file_in(folder, name, "here").read_text() == "x"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../secret.png", "leads out of {folder}; expected a path inside it"),
        ("deep/../../secret.png", "leads out of {folder}; expected a path inside it"),
        ("..\\secret.png", "leads out of {folder}; expected a path inside it"),
        ("/etc/passwd", "leads out of {folder}; expected a path inside it"),
        ("C:\\secret.png", "leads out of {folder}; expected a path inside it"),
        ("", "file name '' is not a name"),
        ("a\0.png", "is not a name"),
        (None, "file name None is not a name"),
        (["a.png"], "file name ['a.png'] is not a name"),
        ("way_out.png", "way_out.png is a link that leads out of {folder}; copy what it points to"),
        ("c.png", "{folder}/c.png: no such file"),
        ("deep", "{folder}/deep: no such file"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(folder, name, message):
    with pytest.raises(InputError) as error:
        file_in(folder, name, "f.json, images[3]")
    assert str(error.value).startswith("f.json, images[3]: ")
    assert message.format(folder=folder) in str(error.value)


def test_the_root_may_be_a_file_or_a_folder(folder):
    assert find_file(folder / "a.png", None, ("x",), "annotations") == folder / "a.png"
    assert find_file(folder, None, ("x", "a.png"), "annotations") == folder / "a.png"
    assert find_images(folder, None) == find_images(folder / "a.png", None) == folder
    assert find_images(folder, "deep") == folder / "deep"
    (folder / "images").mkdir()
    assert find_images(folder / "a.png", None) == folder / "images"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda root: open_root(None), "source.data_root: this reader needs the folder or file of a data set"),
        (lambda root: open_root(root / "no"), "{root}/no: no such file or folder; set data_root to the data set's"),
        (
            lambda root: find_file(root, None, ("one.json", "two.json"), "annotations"),
            "{root}/one.json: no such file; name it with options.annotations",
        ),
        (lambda root: find_file(root, "x.json", ("a.png",), "table"), "{root}/x.json: no such file; name it with "),
        (lambda root: find_images(root, "x"), "{root}/x: no such folder; name the folder of the images with "),
    ],
)
def test_what_is_not_there_is_named(folder, call, message):
    with pytest.raises(InputError) as error:
        call(folder)
    assert str(error.value).startswith(message.format(root=folder))
    assert isinstance(error.value, MissingFileError) or "data_root" in message


def test_options_by_split():
    assert by_split("a", "images") == {None: "a"} and by_split(None, "images") == {None: None}
    files = by_split({"train": "a", "val": "b"}, "annotations")
    assert pair_by_split(files, {None: "c"}, "images") == [("train", "a", "c"), ("val", "b", "c")]
    assert pair_by_split(files, {"train": "c", "val": "d"}, "images") == [("train", "a", "c"), ("val", "b", "d")]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: by_split(3, "images"), "options.images: expected a name, or a name for each of train, val, test"),
        (lambda: by_split({"tran": "a"}, "images"), "options.images: expected a name for each of train, val, test"),
        (lambda: by_split({"train": 3}, "images"), "options.images: expected a name, or a name for each of train"),
        (
            lambda: pair_by_split({"train": "a", "val": "b"}, {"train": "c"}, "images"),
            "options.images: has no entry for val",
        ),
    ],
)
def test_options_by_split_that_mean_nothing(call, message):
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value).startswith(message)


def test_folders_reached_by_a_link_are_fine(folder, tmp_path):
    (tmp_path / "linked").symlink_to(folder)
    assert file_in(tmp_path / "linked", "a.png", "here") == Path(tmp_path / "linked" / "a.png")
