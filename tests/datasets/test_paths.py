import pytest

from cellseg.datasets.paths import ImageFolder, check_key, key_of_file
from cellseg.errors import InputError, MissingFileError


@pytest.mark.parametrize("key", ["0030fd0e6378", "A172_Phase_C7_1_00d00h00m_1", "my image (2)", "Zelle-ä", "a.b"])
def test_usable_ids(key):
    assert check_key(key) == key


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "the id is empty"),
        ("..", "id '..' is a path; an id is a plain name"),
        ("../x", "is a path"),
        ("/etc/passwd", "is a path"),
        ("a\\b", "is a path"),
        (".hidden", "starts or ends with a dot or space"),
        ("x ", "starts or ends with a dot or space"),
        ("a\nb", "holds characters that a file name cannot have"),
        ("a\0b", "holds characters that a file name cannot have"),
        ("a:b", "holds characters that a file name cannot have"),
        ("a" * 201, "is longer than 200 bytes"),
        ("ä" * 101, "is longer than 200 bytes"),
    ],
)
def test_ids_that_cannot_name_files(key, message):
    with pytest.raises(InputError, match=message):
        check_key(key)


@pytest.mark.parametrize(
    ("name", "key"), [("a.png", "a"), ("train/well 1/a.b.tif", "train__well 1__a.b"), ("./a.png", "a")]
)
def test_keys_of_files(name, key):
    assert key_of_file(name) == key


@pytest.mark.parametrize(
    "name", ["../a.png", "x/../../a.png", "/etc/a.png", "C:/a.png", "..\\a.png", "", None, 3, "a\0.png"]
)
def test_file_names_that_lead_elsewhere(name):
    with pytest.raises(InputError, match="file name .* (leads out of the image folder|is not a name)"):
        key_of_file(name)


@pytest.fixture
def folder(tmp_path):
    for name in (
        "images/a.png",
        "images/b.tif",
        "images/b.png",
        "images/inner/c.jpg",
        "images/notes.txt",
        "outside.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "images" / "link.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "images" / "good.png").symlink_to(tmp_path / "images" / "a.png")
    (tmp_path / "images" / "up").symlink_to(tmp_path)
    return tmp_path / "images"


def test_find_by_id(folder):
    images = ImageFolder(folder)
    assert images.find("a") == folder / "a.png"
    assert images.find("good") == folder / "good.png"
    assert images.stems() == ["a", "b", "good", "link"]
    assert ImageFolder(folder, recursive=True).find("c") == folder / "inner" / "c.jpg"


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("z", r"no image file z.png \(or .jpg, .jpeg, .bmp, .tif, .tiff\) in images/"),
        ("c", "no image file c.png"),
        ("b", "several image files have this id: b.png, b.tif; keep one"),
        ("link", "link.png is a link that leads out of images/; copy what it points to"),
    ],
)
def test_find_reports(folder, key, message):
    with pytest.raises(InputError, match=message):
        ImageFolder(folder).find(key)


def test_resolve(folder):
    images = ImageFolder(folder)
    assert images.resolve("inner/c.jpg") == folder / "inner" / "c.jpg"
    for name, message in {
        "../outside.png": "leads out of the image folder",
        "up/outside.png": "is a link that leads out of images/",
        "none.png": "no image file none.png in images/",
    }.items():
        with pytest.raises(InputError, match=message):
            images.resolve(name)


def test_the_folder_itself_may_be_a_link(folder, tmp_path):
    (tmp_path / "alias").symlink_to(folder)
    assert ImageFolder(tmp_path / "alias").find("a").is_file()


def test_missing_folder(tmp_path):
    with pytest.raises(MissingFileError, match="nowhere: no such folder of images"):
        ImageFolder(tmp_path / "nowhere")
