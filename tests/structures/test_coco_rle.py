"""COCO's run-length code against pycocotools, and everything that can be wrong with it."""

import numpy as np
import pycocotools.mask as reference
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cellseg.errors import InputError
from cellseg.structures.coco_rle import compress, decompress
from cellseg.structures.rle import from_coco_rle, to_coco_rle

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12))


def plain_counts(mask):
    """Lengths of equal values down the columns, beginning with background."""
    counts, current = [0], False
    for value in mask.T.reshape(-1):
        if value != current:
            counts.append(0)
            current = value
        counts[-1] += 1
    return counts


def plain_characters(counts):
    """COCO's compression, number by number."""
    text = ""
    for place, count in enumerate(counts):
        number = count - counts[place - 2] if place > 2 else count
        while True:
            bits, number = number & 31, number >> 5
            last = number == (-1 if bits & 16 else 0)
            text += chr(48 + bits + (0 if last else 32))
            if last:
                break
    return text


@given(masks)
@settings(deadline=None, max_examples=300)
def test_code_is_that_of_pycocotools_and_comes_back(mask):
    rle = to_coco_rle(mask)
    expected = reference.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert rle == {"size": expected["size"], "counts": expected["counts"].decode()}
    for counts in (rle["counts"], rle["counts"].encode(), plain_counts(mask), np.array(plain_counts(mask))):
        back = from_coco_rle({"size": list(mask.shape), "counts": counts})
        assert back.dtype == np.bool_
        np.testing.assert_array_equal(back, mask)


@given(st.lists(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=9), max_size=5))
@settings(deadline=None, max_examples=300)
def test_compression_of_any_counts(many):
    texts = compress([np.array(counts, np.int64) for counts in many])
    assert texts == [plain_characters(counts) for counts in many]
    assert [decompress(text).tolist() for text in texts] == many


def test_large_mask_and_tensor(device):
    mask = torch.zeros(520, 704, dtype=torch.bool)
    mask[100:300, 50:600] = True
    mask[150:200, 200:210] = False
    expected = reference.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))["counts"].decode()
    assert to_coco_rle(mask.to(device))["counts"] == expected
    np.testing.assert_array_equal(from_coco_rle({"size": [520, 704], "counts": expected}), mask.numpy())


def size(counts, height=8, width=8):
    return {"size": [height, width], "counts": counts}


BAD_CODES = [
    (size([3, 2]), "COCO RLE: the counts add up to 5, but an image of 8 x 8 (height x width) has 64 pixels"),
    (size([60, 5]), "COCO RLE: the counts add up to 65, but an image of 8 x 8 (height x width) has 64 pixels"),
    (size([]), "COCO RLE: the counts add up to 0, but an image of 8 x 8 (height x width) has 64 pixels"),
    (size(""), "COCO RLE: the counts add up to 0, but an image of 8 x 8 (height x width) has 64 pixels"),
    (size("32"), "COCO RLE: the counts add up to 5, but an image of 8 x 8 (height x width) has 64 pixels"),
    (size([3, 2, -1, 60]), "COCO RLE count 3: -1 is below 1"),
    (size([-1, 65]), "COCO RLE count 1: -1 is below 0"),
    (size([3, 0, 61]), "COCO RLE count 2: 0 is below 1"),
    (size([32, 32.0]), "COCO RLE count 2: 32.0 is not a whole number"),
    (size([True, 63]), "COCO RLE count 1: True is not a whole number"),
    (size([2**70]), "COCO RLE count 1: the number is too large"),
    (size(64), "COCO RLE: expected counts as text or a list, got int"),
    (size("3o"), "COCO RLE count 2: the text ends in the middle of the number"),
    (size("3ooooooo0"), "COCO RLE count 2: the number is too large"),
    (size("3\n"), "COCO RLE: character 2 is '\\n', which the code does not have"),
    (size("3\u00e90"), "COCO RLE: character 2 is '\u00e9', which the code does not have"),
    (size(b"3\xff"), "COCO RLE: character 2 is '\u00ff', which the code does not have"),
    (size([64], 8.0), "image size: expected (height, width) as whole numbers, got [8.0, 8]"),
    (size([64], 0), "image size: height and width must lie in 1..2147483647, got 0 x 8"),
    ({"size": 64, "counts": [64]}, "image size: expected (height, width) as whole numbers, got 64"),
    (size([2**32 - 1], 65535, 65537), "image size: 65535 x 65537 has 4294967295 pixels, more than the 2147483648 that "
     "one mask is decoded to"),
    ({"counts": [64]}, "COCO RLE: expected a dictionary with 'size' and 'counts', got {'counts': [64]}"),
    ([[1, 2, 3, 4, 5, 6]], "COCO RLE: expected a dictionary with 'size' and 'counts', got [[1, 2, 3, 4, 5, 6]]"),
    (None, "COCO RLE: expected a dictionary with 'size' and 'counts', got None"),
]  # fmt: skip


@pytest.mark.parametrize(("rle", "message"), BAD_CODES)
def test_damaged_codes_are_refused(rle, message):
    with pytest.raises(InputError) as caught:
        from_coco_rle(rle)
    assert str(caught.value) == message


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
@given(st.text(alphabet=[chr(code) for code in range(48, 112)], max_size=12))
@settings(deadline=None, max_examples=500)
def test_any_text_gives_a_mask_of_the_size_or_an_error(text):
    try:
        mask = from_coco_rle(size(text, 3, 4))
    except InputError as error:
        assert str(error).startswith("COCO RLE")
    else:
        assert mask.shape == (3, 4)
        np.testing.assert_array_equal(mask, reference.decode({"size": [3, 4], "counts": text.encode()}))
