"""Reading images of every depth and colour, and finding the files an INPUT means."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from cellseg.errors import InputError, MissingFileError
from cellseg.io.images import list_inputs, read_image, to_rgb

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (20, 30)).astype(np.uint8)
COLOUR = RNG.integers(0, 256, (20, 30, 3)).astype(np.uint8)
DEEP = RNG.integers(0, 65536, (20, 30)).astype(np.uint16)
DEEP_COLOUR = RNG.integers(0, 65536, (20, 30, 3)).astype(np.uint16)


def stretched(image):
    """The documented rule, pixel by pixel."""
    low, high = np.percentile(image, [0.1, 99.9])
    return np.array([round(min(max((float(v) - low) / (high - low), 0.0), 1.0) * 255) for v in image.ravel()])


def same(read, expected):
    return read.dtype == np.uint8 and read.shape == expected.shape and np.array_equal(read, expected)


# Eight bit: nothing changes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "A.TIFF", "b.PNG"])
@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "rgb"])
def test_lossless_8_bit_files_come_back_as_they_are(tmp_path, name, pixels):
    Image.fromarray(pixels).save(tmp_path / name)
    assert same(read_image(tmp_path / name), pixels)


def test_jpeg(tmp_path):
    smooth = cv2.GaussianBlur(COLOUR, (0, 0), 4)
    for name, pixels in (("c.jpg", smooth), ("g.jpeg", smooth[:, :, 0])):
        Image.fromarray(pixels).save(tmp_path / name, quality=95)
        read = read_image(tmp_path / name)
        assert read.shape == pixels.shape and np.abs(read.astype(int) - pixels).mean() < 3


def test_alpha_is_dropped(tmp_path):
    with_alpha = np.dstack([COLOUR, GREY])
    Image.fromarray(with_alpha).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", with_alpha, photometric="rgb")
    Image.fromarray(np.dstack([GREY, GREY[::-1]]), mode=None).save(tmp_path / "grey.png")
    cv2.imwrite(str(tmp_path / "deep.png"), np.dstack([DEEP_COLOUR[:, :, ::-1], DEEP]))
    assert same(read_image(tmp_path / "a.png"), COLOUR)
    assert same(read_image(tmp_path / "a.tif"), COLOUR)
    assert same(read_image(tmp_path / "grey.png"), GREY)
    assert np.array_equal(read_image(tmp_path / "deep.png").ravel(), stretched(DEEP_COLOUR))


def test_palettes_and_one_bit_images(tmp_path):
    palette = Image.fromarray(COLOUR).convert("P")
    one_bit = Image.fromarray(GREY).convert("1")
    for suffix in (".png", ".tif"):
        palette.save(tmp_path / f"p{suffix}")
        one_bit.save(tmp_path / f"o{suffix}")
    assert same(read_image(tmp_path / "p.png"), np.asarray(palette.convert("RGB")))
    # TIFF keeps 16-bit palettes: colours are stretched like other 16-bit values.
    assert read_image(tmp_path / "p.tif", full_range=True).shape == (20, 30, 3)
    assert same(read_image(tmp_path / "o.png"), np.asarray(one_bit.convert("L")))
    assert same(read_image(tmp_path / "o.tif"), np.asarray(one_bit.convert("L")))


def test_orientation_tags_are_not_applied(tmp_path):
    tag = Image.Exif()
    tag[0x0112] = 6  # rotate by 90 degrees
    Image.fromarray(GREY).save(tmp_path / "a.png", exif=tag)
    assert same(read_image(tmp_path / "a.png"), GREY)


# More than eight bits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("pixels", [DEEP, DEEP_COLOUR, DEEP // 16], ids=["grey", "rgb", "12 bit in 16"])
def test_16_bit_is_stretched_between_percentiles(tmp_path, name, pixels):
    if name.endswith("tif"):
        tifffile.imwrite(tmp_path / name, pixels)
    else:
        cv2.imwrite(str(tmp_path / name), pixels[:, :, ::-1] if pixels.ndim == 3 else pixels)
    assert np.array_equal(read_image(tmp_path / name).ravel(), stretched(pixels))
    full = np.rint(pixels / 65535 * 255).astype(np.uint8)
    assert same(read_image(tmp_path / name, full_range=True), full)


@pytest.mark.parametrize(
    ("pixels", "full_range", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0, 2.0]], np.float32), True, [0, 128, 255, 255]),
        (np.array([[-4.0, 0.0, 4.0]], np.float64), True, [0, 0, 255]),
        (np.array([[0, 2**32 - 1]], np.uint32), True, [0, 255]),
        (np.array([[-5, 0, 32767]], np.int16), True, [0, 0, 255]),
        (np.array([[-1000.0, 500.0, 1000.0]], np.float32), False, [0, 191, 255]),
        (np.full((1, 4), 700, np.uint16), False, [0, 0, 0, 0]),
        (np.array([[5] * 3000 + [9]], np.uint16), False, [0] * 3000 + [255]),
        (np.array([[False, True]]), False, [0, 255]),
    ],
    ids=["float", "negative float", "32 bit", "signed", "stretched float", "one value", "one bright pixel", "bool"],
)
def test_depths(tmp_path, pixels, full_range, expected):
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    assert read_image(tmp_path / "a.tif", full_range=full_range).ravel().tolist() == expected


# Pages, channels, planes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["imagej", "ome"])
@pytest.mark.parametrize("axes", ["CYX", "ZCYX", "TZCYX", "TCYX"])
def test_first_plane_and_the_wanted_channel(tmp_path, form, axes):
    sizes = {"T": 2, "Z": 4, "C": 3, "Y": 20, "X": 30}
    stack = RNG.integers(0, 256, [sizes[axis] for axis in axes]).astype(np.uint8)
    path = tmp_path / ("a.ome.tif" if form == "ome" else "a.tif")
    tifffile.imwrite(path, stack, imagej=form == "imagej", metadata={"axes": axes})
    channels = stack[(0,) * (stack.ndim - 3)]
    assert same(read_image(path), channels[0])
    assert same(read_image(path, channel=2), channels[2])
    with pytest.raises(InputError, match="channel 3 does not exist, the image has 3"):
        read_image(path, channel=3)


def test_first_page_of_a_plain_stack_and_channel_as_page(tmp_path):
    pages = RNG.integers(0, 256, (4, 20, 30)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in pages:
            file.write(page, contiguous=False, metadata=None)
    assert same(read_image(tmp_path / "a.tif"), pages[0])
    assert same(read_image(tmp_path / "a.tif", channel=3), pages[3])


def test_pages_of_different_sizes_give_the_first(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(GREY, metadata=None)
        file.write(GREY[:10, :12], metadata=None)
    assert same(read_image(tmp_path / "a.tif"), GREY)


@pytest.mark.parametrize("layout", ["contig", "separate"])
def test_colour_layouts_and_single_colours(tmp_path, layout):
    stored = COLOUR if layout == "contig" else np.ascontiguousarray(np.moveaxis(COLOUR, 2, 0))
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=layout)
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    assert same(read_image(tmp_path / "a.tif"), COLOUR)
    for name in ("a.tif", "a.png"):
        assert same(read_image(tmp_path / name, channel=1), COLOUR[:, :, 1])
        with pytest.raises(InputError) as caught:
            read_image(tmp_path / name, channel=3)
        assert str(caught.value) == (f"{tmp_path / name}: channel 3 does not exist, the image has 3 (counted from 0)")


def test_five_samples_are_channels(tmp_path):
    pixels = RNG.integers(0, 256, (20, 30, 5)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig")
    assert same(read_image(tmp_path / "a.tif"), pixels[:, :, 0])
    assert same(read_image(tmp_path / "a.tif", channel=4), pixels[:, :, 4])


def test_white_is_zero_is_inverted(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY, photometric="miniswhite")
    assert same(read_image(tmp_path / "a.tif"), 255 - GREY)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate"])
@pytest.mark.parametrize("pixels", [GREY, COLOUR, DEEP], ids=["grey", "rgb", "16 bit"])
def test_compressed_tiff(tmp_path, compression, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.tif", compression=compression)
    expected = stretched(pixels).reshape(pixels.shape) if pixels.dtype == np.uint16 else pixels
    assert np.array_equal(read_image(tmp_path / "a.tif"), expected)


def test_jpeg_in_tiff(tmp_path):
    smooth = cv2.GaussianBlur(COLOUR, (0, 0), 4)
    Image.fromarray(smooth).save(tmp_path / "a.tif", compression="jpeg", quality=95)
    assert np.abs(read_image(tmp_path / "a.tif").astype(int) - smooth).mean() < 3


def test_second_page_of_a_compressed_stack(tmp_path):
    first, second = Image.fromarray(GREY), Image.fromarray(GREY[::-1].copy())
    first.save(tmp_path / "a.tif", compression="tiff_lzw", save_all=True, append_images=[second])
    assert same(read_image(tmp_path / "a.tif", channel=1), GREY[::-1])


# What cannot be read ------------------------------------------------------------------------------------------


def damaged(tmp_path, name):
    path = tmp_path / name
    whole = tmp_path / f"whole{path.suffix}"
    if name.startswith("cut"):
        Image.fromarray(COLOUR).save(whole)
        path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    elif name.startswith("junk"):
        path.write_bytes(b"this is no image at all")
    elif name.startswith("empty"):
        path.write_bytes(b"")
    elif name.startswith("nan"):
        tifffile.imwrite(path, np.array([[0.0, np.nan]], np.float32))
    elif name.startswith("complex"):
        tifffile.imwrite(path, np.ones((4, 4), np.complex64))
    elif name.startswith("text"):
        path.write_text("a")
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cut.png", "cannot be read as an image ("),
        ("cut.jpg", "cannot be read as an image ("),
        ("cut.bmp", "cannot be read as an image ("),
        ("cut.tif", "cannot be read as a TIFF image ("),
        ("junk.png", "cannot be read as an image (unknown content)"),
        ("junk.tif", "cannot be read as a TIFF image (TiffFileError: not a TIFF file"),
        ("empty.png", "the file is empty"),
        ("empty.tif", "the file is empty"),
        ("nan.tif", "holds pixels that are not finite (NaN or infinite)"),
        ("complex.tif", "pixels of type complex64 are no brightness values"),
        ("text.csv", "not an image file that can be read (expected .png, .jpg, .jpeg, .bmp, .tif, .tiff)"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, message):
    path = damaged(tmp_path, name)
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(MissingFileError) as caught:
            read_image(path)
        assert str(caught.value) == f"{path}: no such image file"


def test_header_that_claims_too_many_pixels_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr("cellseg.io.images.MAX_PIXELS", 500)
    for name in ("a.png", "a.tif"):
        Image.fromarray(GREY).save(tmp_path / name)
        with pytest.raises(InputError) as caught:
            read_image(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: 30 x 20 pixels are too many; cut it into tiles"


def test_pillow_keeps_its_own_limit(tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    Image.fromarray(GREY).save(tmp_path / "a.png")
    read_image(tmp_path / "a.png")
    assert Image.MAX_IMAGE_PIXELS == before


# to_rgb -------------------------------------------------------------------------------------------------------


def test_to_rgb():
    expected = np.dstack([GREY] * 3)
    assert same(to_rgb(GREY), expected)
    assert same(to_rgb(GREY[:, :, None]), expected)
    assert to_rgb(COLOUR) is COLOUR


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (DEEP, "expected an 8-bit image, found uint16"),
        (np.zeros((4, 4, 2), np.uint8), "expected an image [H, W] or [H, W, 3], found shape [4, 4, 2]"),
        (np.zeros(4, np.uint8), "expected an image [H, W] or [H, W, 3], found shape [4]"),
    ],
)
def test_to_rgb_says_what_it_expected(image, message):
    with pytest.raises(InputError) as caught:
        to_rgb(image)
    assert str(caught.value) == message


# list_inputs --------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """b.png, a.TIF, notes.csv, .hidden.png and deeper/c.jpg."""
    for name in ("b.png", "a.TIF", "notes.csv", ".hidden.png", "deeper/c.jpg"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "in"


def test_an_image(folder):
    assert list_inputs(folder / "b.png") == [("b", folder / "b.png")]


def test_a_folder_is_sorted_and_other_files_are_reported(folder):
    skipped = []
    assert list_inputs(str(folder), skipped) == [("a", folder / "a.TIF"), ("b", folder / "b.png")]
    assert skipped == [(folder / "notes.csv", "not an image (.csv)")]


def test_globs(folder):
    assert [name for name, _ in list_inputs(f"{folder}/*.png")] == ["b"]
    assert [name for name, _ in list_inputs(f"{folder}/**/*")] == ["a", "b", "c"]


def test_a_name_with_brackets_is_no_glob(tmp_path):
    (tmp_path / "well[1].png").write_bytes(b"x")
    assert list_inputs(tmp_path / "well[1].png") == [("well[1]", tmp_path / "well[1].png")]


def test_a_list_of_paths_is_relative_to_itself(folder, monkeypatch):
    monkeypatch.chdir("/")
    (folder / "list.txt").write_text(f"\ufeff# a comment\n\nb.png \n{folder}/deeper/c.jpg\ngone.png\nnotes.csv\n")
    skipped = []
    assert list_inputs(folder / "list.txt", skipped) == [
        ("b", folder / "b.png"),
        ("c", folder / "deeper" / "c.jpg"),
        ("gone", folder / "gone.png"),
    ]
    assert skipped == [(folder / "notes.csv", "not an image (.csv)")]


def test_equal_ids_are_refused_with_both_paths(folder):
    (folder / "a.png").write_bytes(b"x")
    with pytest.raises(InputError) as caught:
        list_inputs(folder)
    assert str(caught.value) == (
        f"{folder}: two images have the id 'a': {folder / 'a.TIF'} and {folder / 'a.png'}; rename one"
    )


def write_empty_list(folder: Path) -> str:
    (folder / "empty.txt").write_text("# nothing\n")
    return str(folder / "empty.txt")


def write_binary_list(folder: Path) -> str:
    (folder / "binary.txt").write_bytes(b"\xff\xfe\x00")
    return str(folder / "binary.txt")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda folder: f"{folder}/none", MissingFileError, "no such file or folder"),
        (lambda folder: f"{folder}/*.bmp", MissingFileError, "no file matches this pattern"),
        (lambda folder: f"{folder}/*.csv", InputError, "no images here (expected .png, "),
        (write_empty_list, InputError, "no images here (expected .png, "),
        (write_binary_list, InputError, "not a text file in UTF-8 (invalid start byte at byte 0)"),
        (lambda folder: f"{folder}/notes.csv", InputError, "expected an image (.png, .jpg, .jpeg, .bmp, .tif, .tiff)"),
    ],
)
def test_inputs_that_mean_nothing(folder, make, error, message):
    text = make(folder)
    with pytest.raises(error) as caught:
        list_inputs(text)
    assert str(caught.value).startswith(f"{text}: {message}")
