import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from cellseg.errors import InputError, MissingFileError
from cellseg.io.submission import read_predictions, read_truth, write_predictions
from cellseg.structures import CropMasks

SIZE = (4, 5)  # height, width of the images in these tables


def write(path, text):
    path.write_bytes(text.encode())
    return path


def masks_of(*labels):
    return CropMasks.from_label_image(torch.tensor(labels))


class TestReadTruth:
    def test_images_types_sizes_and_rows(self, tmp_path):
        path = write(
            tmp_path / "truth.csv",
            "id,annotation,width,height,cell_type,plate\n"
            "b,1 2 6 2,5,4,cort,p1\n"
            "a,20 1,5,4,astro,p1\n"
            "none,,7,3,,p2\n"
            "b,2 1,5,4,cort,p1\n",  # overlaps row 2: a truth may
        )
        truth = read_truth(path)
        assert list(truth) == ["b", "a", "none"]
        assert truth["b"].rows == (2, 5)
        assert truth["b"].cell_type == "cort"
        assert truth["b"].masks.image_size == (4, 5)
        expected = torch.zeros(2, 4, 5, dtype=torch.bool)
        expected[0, :2, :2] = True
        expected[1, 0, 1] = True
        assert torch.equal(truth["b"].masks.to_dense(), expected)
        assert truth["a"].masks.to_dense()[0, 3, 4]
        assert len(truth["none"].masks) == 0
        assert truth["none"].masks.image_size == (3, 7)
        assert truth["none"].cell_type == ""

    def test_several_types_in_an_image(self, tmp_path):
        path = write(
            tmp_path / "t.csv",
            "id,annotation,width,height,cell_type\na,1 1,5,4,cort\na,3 1,5,4,astro\na,5 1,5,4,cort\n",
        )
        assert read_truth(path)["a"].cell_type == "astro+cort"

    def test_any_order_of_columns_windows_lines_and_byte_order_mark(self, tmp_path):
        text = "height,width,id,annotation\r\n4,5,a,1 2\r\n\r\n"
        path = tmp_path / "truth.csv"
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert read_truth(path)["a"].masks.to_rle() == ["1 2"]

    def test_long_masks(self, tmp_path):
        """Longer than what the csv module reads in one field by default."""
        mask = " ".join(f"{start} 1" for start in range(1, 80_000, 2))
        path = write(tmp_path / "truth.csv", f"id,annotation,width,height\na,{mask},400,400\n")
        limit = csv.field_size_limit()
        assert read_truth(path)["a"].masks.areas().tolist() == [40_000]
        assert csv.field_size_limit() == limit


HEADER = "id,annotation,width,height\n"
BAD_TRUTHS = {
    "empty file": ("", "the file is empty, expected the header id,annotation,width,height"),
    "header only": (HEADER, "no rows below the header; the truth needs at least one image"),
    "no height": ("id,annotation,width\na,1 1,5\n", "expected 'id,annotation,width,height' and any others: no column"),
    "capitals": ("Id,Annotation,Width,Height\n", "the header is 'Id,Annotation,Width,Height', expected .* lower case"),
    "spaces": ("id, annotation, width, height\n", "names are lower case without spaces"),
    "semicolons": ("id;annotation;width;height\na;1 1;5;4\n", "columns must be separated by commas"),
    "tabs": ("id\tannotation\twidth\theight\n", "columns must be separated by commas"),
    "swapped files": ("id,predicted\na,1 1\n", "this looks like a submission; the predictions come first"),
    "double column": ("id,annotation,width,height,id\n", "column 'id' comes 2 times"),
    "short row": (HEADER + "a,1 1,5,4\na,3 1,5\n", "row 3: 3 fields, but the header has 4 columns"),
    "long row": (HEADER + "a,1,1,5,4\n", "row 2: 5 fields, but the header has 4 columns"),
    "no id": (HEADER + "a,1 1,5,4\n,3 1,5,4\n", "row 3: the id is empty"),
    "id that clears the screen": (HEADER + "a\x1b[2J,1 1,5,4\n", r"row 2: id 'a\\x1b\[2J' has characters that cannot"),
    "type likewise": (
        "id,annotation,width,height,cell_type\na,1 1,5,4,x\x07y\n",
        r"row 2: cell type 'x\\x07y' has characters that cannot be printed",
    ),
    "width a word": (
        HEADER + "a,1 1,wide,4\n",
        "row 2: width should be a whole number of pixels above 0, found 'wide'",
    ),
    "width zero": (HEADER + "a,1 1,0,4\n", "row 2: width should be a whole number of pixels above 0, found '0'"),
    "height negative": (HEADER + "a,1 1,5,-4\n", "row 2: height should be .* above 0, found '-4'"),
    "height a fraction": (HEADER + "a,1 1,5,4.5\n", "row 2: height should be .* above 0, found '4.5'"),
    "height missing": (HEADER + "a,1 1,5,\n", "row 2: height should be .* above 0, found ''"),
    "height of 30 digits": (HEADER + f"a,1 1,5,{'9' * 30}\n", "row 2: height should be a whole number"),
    "digits of another script": (HEADER + "a,1 1,5,²\n", "row 2: height should be .* found '²'"),
    "absurd size": (HEADER + "a,1 1,200000,200000\n", "row 2: an image of 200000 x 200000 pixels is larger than"),
    "two sizes": (
        HEADER + "a,1 1,5,4\nb,1 1,9,9\na,3 1,4,5\n",
        r"row 4: id 'a' is 4 x 5 pixels \(width x height\) here and 5 x 4 in row 2",
    ),
    "damaged mask": (HEADER + "a,1 1,5,4\na,3 1 4,5,4\n", "row 3: id 'a': RLE pair 2: .*odd count"),
    "mask past the end": (HEADER + "a,1 2 19 3,5,4\n", "row 2: id 'a': RLE pair 2: the run 19 3 ends at pixel 21"),
    "mask of length zero": (HEADER + "a,1 2 19 0,5,4\n", "row 2: id 'a': RLE pair 2: length 0 is below 1"),
    "mask from zero": (HEADER + "a,0 2,5,4\n", "row 2: id 'a': RLE pair 1: start 0 is below 1"),
    "mask out of order": (HEADER + "a,9 2 1 2,5,4\n", "row 2: id 'a': RLE pair 2: start 1 is before the end of pair 1"),
    "mask of words": (HEADER + "a,1 two,5,4\n", "row 2: id 'a': RLE pair 1: length 'two' is not a whole number"),
    "same row twice": (HEADER + "a,1 1,5,4\nb,1 1,5,4\na,1 1,5,4\n", "row 4: id 'a' has the same mask as row 2"),
    "two empty rows": (HEADER + "a,,5,4\na,,5,4\n", r"row 3: id 'a' has an empty row already \(row 2\); remove one"),
    "empty and not": (HEADER + "a,1 1,5,4\na,,5,4\n", "row 3: id 'a' is empty here, .* no cells, but row 2 has one"),
    "empty, then not": (HEADER + "a,,5,4\na,1 1,5,4\n", "row 2: id 'a' is empty here, .* but row 3 has one"),
    "open quote": (HEADER + 'a,"1 1,5,4\n', "not a CSV file in UTF-8"),
}


@pytest.mark.parametrize(("text", "message"), BAD_TRUTHS.values(), ids=BAD_TRUTHS.keys())
def test_bad_truth(tmp_path, text, message):
    path = write(tmp_path / "truth.csv", text)
    with pytest.raises(InputError, match=rf"truth\.csv: .*{message}"):
        read_truth(path)


def test_truth_that_is_no_text(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    with pytest.raises(InputError, match=r"truth\.csv: not a CSV file in UTF-8"):
        read_truth(path)
    with pytest.raises(MissingFileError, match=r"absent\.csv: no such file"):
        read_truth(tmp_path / "absent.csv")
    with pytest.raises(MissingFileError, match="no such file"):
        read_truth(tmp_path)


def test_truth_that_cannot_be_read():
    path = Path("/proc/self/mem")  # there, and an error to read from its start
    if not path.is_file():
        pytest.skip("needs Linux")
    with pytest.raises(InputError, match=r"/proc/self/mem: cannot be read \(Input/output error\)"):
        read_truth(path)


def test_rows_are_counted_as_an_editor_does(tmp_path):
    path = write(tmp_path / "truth.csv", HEADER + '\n"a","1 1",5,4\n\n"a","1\n1",5,4\na,9 9,5,0\n')
    with pytest.raises(InputError, match="row 7: height should be"):
        read_truth(path)


class TestReadPredictions:
    def test_every_image_in_the_order_of_the_truth(self, tmp_path):
        path = write(tmp_path / "sub.csv", "id,predicted\nb,1 2\na,\nb,6 2\n")
        images = read_predictions(path, {"a": SIZE, "b": SIZE})
        assert list(images) == ["a", "b"]
        assert len(images["a"].masks) == 0
        assert images["b"].masks.to_rle() == ["1 2", "6 2"]
        assert images["b"].rows == (2, 4)

    def test_columns_in_the_other_order(self, tmp_path):
        path = write(tmp_path / "sub.csv", "predicted,id\n1 2,a\n")
        assert read_predictions(path, {"a": SIZE})["a"].masks.to_rle() == ["1 2"]


PREDICTED = "id,predicted\n"
BAD_PREDICTIONS = {
    "empty file": ("", "the file is empty, expected the header id,predicted"),
    "no header": ("a,1 1\n", "the header is 'a,1 1', expected 'id,predicted': no column 'id', 'predicted'"),
    "another name": ("id,prediction\n", "expected 'id,predicted': no column 'predicted'"),
    "capitals": ("Id,Predicted\n", "the header is 'Id,Predicted', expected 'id,predicted': names are lower case"),
    "swapped files": ("id,annotation,width,height\n", "this looks like a truth; the predictions come first"),
    "a column more": ("id,predicted,score\na,1 1,0.5\n", "expected 'id,predicted': leave out 'score'"),
    "unknown ids": (
        PREDICTED + "a,1 1\nx,1 1\nb,\ny,\nx,3 1\n",
        r"2 ids not in the truth: 'x' \(row 3\), 'y' \(row 5\); remove these rows",
    ),
    "missing ids": (PREDICTED + "a,1 1\n", "1 image of the truth without a row: 'b'; every image needs one, an image"),
    "all missing": (PREDICTED, "2 images of the truth without a row: 'a', 'b'; .* the row `id,` with nothing after"),
    "two empty rows": (PREDICTED + "a,\nb,\nb,\n", r"row 4: id 'b' has an empty row already \(row 3\)"),
    "same row twice": (PREDICTED + "a,1 1\nb,\na,1 1\n", "row 4: id 'a' has the same mask as row 2; remove one"),
    "damaged mask": (PREDICTED + "a,1 1\nb,7 1\nb,19 3\n", "row 4: id 'b': RLE pair 1: the run 19 3 ends at pixel 21"),
    "overlap": (
        PREDICTED + "a,1 3\nb,\na,6 2\na,3 5\n",
        "image 'a': the masks of rows 2 and 5 overlap in 1 pixel; the competition refuses overlapping predictions",
    ),
    "nested": (PREDICTED + "b,1 9\na,\nb,2 4\n", "image 'b': the masks of rows 2 and 4 overlap in 4 pixels"),
}


@pytest.mark.parametrize(("text", "message"), BAD_PREDICTIONS.values(), ids=BAD_PREDICTIONS.keys())
def test_bad_predictions(tmp_path, text, message):
    path = write(tmp_path / "sub.csv", text)
    with pytest.raises(InputError, match=rf"sub\.csv: .*{message}"):
        read_predictions(path, {"a": SIZE, "b": SIZE})


def test_long_lists_of_ids_are_cut(tmp_path):
    path = write(tmp_path / "sub.csv", PREDICTED + "a,\n")
    with pytest.raises(
        InputError, match="12 images of the truth without a row: 'i0', 'i1', 'i2', 'i3', 'i4' and 7 more;"
    ):
        read_predictions(path, {"a": SIZE} | {f"i{i}": SIZE for i in range(12)})


class TestWritePredictions:
    def test_what_is_written_is_read_back(self, tmp_path):
        path = tmp_path / "out" / "sub.csv"
        images = {
            "a": masks_of([1, 1, 0], [0, 2, 2]),
            'odd, "name"': CropMasks.empty((2, 3)),
            "c": masks_of([0, 0, 0], [0, 0, 1]),
        }
        write_predictions(path, images)
        assert path.read_bytes() == b'id,predicted\na,1 2\na,5 2\n"odd, ""name""",\nc,6 1\n'
        read = read_predictions(path, {key: masks.image_size for key, masks in images.items()})
        for key, masks in images.items():
            assert torch.equal(read[key].masks.to_dense(), masks.to_dense())

    @pytest.mark.parametrize("seed", range(20))
    def test_random_masks(self, tmp_path, seed):
        generator = np.random.default_rng(seed)
        images = {
            f"i{i}": CropMasks.from_label_image(torch.from_numpy(generator.integers(0, 4, size=(9, 8))))
            for i in range(generator.integers(1, 5))
        }
        write_predictions(tmp_path / "sub.csv", images.items())
        read = read_predictions(tmp_path / "sub.csv", dict.fromkeys(images, (9, 8)))
        for key, masks in images.items():
            assert torch.equal(read[key].masks.to_dense(), masks.to_dense())

    def test_a_mask_without_pixels_is_no_row(self, tmp_path):
        blank = CropMasks.from_dense(torch.zeros(2, 2, 3, dtype=torch.bool))
        write_predictions(
            tmp_path / "sub.csv", {"a": blank, "b": CropMasks.cat([blank, masks_of([1, 1, 0], [0, 0, 0])])}
        )
        assert (tmp_path / "sub.csv").read_text() == "id,predicted\na,\nb,1 2\n"

    @pytest.mark.parametrize(
        ("images", "message"),
        [
            ([("a", "overlapping")], r"sub\.csv: image 'a': masks 0 and 1 overlap in 2 pixels"),
            ([("a", "plain"), ("a", "plain")], r"sub\.csv: id 'a' comes twice"),
            ([("", "plain")], r"sub\.csv: the id is empty"),
            ([("a\nb", "plain")], r"sub\.csv: id 'a\\nb' has characters that cannot be printed"),
        ],
    )
    def test_nothing_is_written_when_refused(self, tmp_path, images, message):
        plain = masks_of([1, 1, 0], [0, 0, 0])
        known = {"plain": plain, "overlapping": CropMasks.cat([plain, plain])}
        path = write(tmp_path / "sub.csv", "as it was")
        with pytest.raises(InputError, match=message):
            write_predictions(path, [("first", plain), *((key, known[name]) for key, name in images)])
        assert path.read_text() == "as it was"
        assert [file.name for file in tmp_path.iterdir()] == ["sub.csv"]
