"""Kaggle's run-length text against a plain reference, and everything that can be wrong with it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cellseg.errors import InputError
from cellseg.structures.rle import decode_rle, encode_rle, rle_runs
from cellseg.structures.runs import flat_runs

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12))


def plain_runs(flat):
    runs, start = [], None
    for place, value in enumerate([*flat, False]):
        if value and start is None:
            start = place
        if not value and start is not None:
            runs.append((start, place - start))
            start = None
    return runs


def plain_text(mask):
    return " ".join(f"{start + 1} {length}" for start, length in plain_runs(mask.reshape(-1)))


@given(masks)
@settings(deadline=None, max_examples=300)
def test_text_is_that_of_the_plain_reference_and_comes_back(mask):
    text = encode_rle(mask)
    assert text == plain_text(mask)
    back = decode_rle(text, *mask.shape)
    assert back.dtype == np.bool_ and back.shape == mask.shape
    np.testing.assert_array_equal(back, mask)
    assert rle_runs(text, *mask.shape).tolist() == [list(run) for run in plain_runs(mask.reshape(-1))]


@given(st.integers(0, 2**32), st.floats(0, 1))
@settings(deadline=None, max_examples=30)
def test_large_images_with_objects_far_apart(seed, share):
    generator = np.random.default_rng(seed)
    mask = np.zeros((300, 701), np.bool_)
    for _ in range(generator.integers(0, 4)):
        y, x = generator.integers(0, 300), generator.integers(0, 701)
        mask[y : y + generator.integers(1, 90), x : x + generator.integers(1, 90)] = generator.random() < share + 0.3
    assert encode_rle(mask) == plain_text(mask)
    np.testing.assert_array_equal(decode_rle(encode_rle(mask), 300, 701), mask)


@pytest.mark.parametrize("gap", [2**15 - 2, 2**15 - 1, 2**15, 2**15 + 1, 2**16, 2**17])
def test_pixels_just_within_and_beyond_the_look_ahead(gap):
    flat = np.zeros(2**18, np.bool_)
    flat[[5, 5 + gap, 5 + gap + 7, 2**18 - 1]] = True
    starts, lengths = flat_runs(flat)
    assert starts.tolist() == [5, 5 + gap, 5 + gap + 7, 2**18 - 1]
    assert lengths.tolist() == [1, 1, 1, 1]


def test_text_follows_rows_and_counts_from_one():
    mask = np.array([[0, 1, 1], [1, 0, 1]], bool)
    assert encode_rle(mask) == "2 3 6 1"  # the run goes on from the end of row 0 into row 1
    assert rle_runs("2 3 6 1", 2, 3).tolist() == [[1, 3], [5, 1]]


def test_a_row_of_the_sartorius_csv():
    mask = decode_rle("118145 6 118849 7 119553 8", 520, 704)
    rows, columns = np.nonzero(mask)
    assert mask.sum() == 21
    assert sorted(set(rows)) == [167, 168, 169]
    assert columns.min() == 576 and columns.max() == 583


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.uint16])
def test_whole_numbers_count_as_foreground_where_not_zero(kind):
    assert encode_rle(np.array([[0, 255], [7, 0]], kind)) == "2 2"


def test_tensors_transposed_and_cut_arrays():
    mask = np.random.default_rng(0).random((9, 14)) < 0.4
    assert encode_rle(torch.from_numpy(mask)) == plain_text(mask)
    assert encode_rle(mask.T) == plain_text(np.ascontiguousarray(mask.T))
    assert encode_rle(mask[1:7:2, 3:9]) == plain_text(np.ascontiguousarray(mask[1:7:2, 3:9]))


def test_tensor_on_a_device(device):
    assert encode_rle(torch.tensor([[False, True]], device=device)) == "2 1"


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_empty_text_is_an_empty_mask(text):
    assert not decode_rle(text, 3, 4).any()
    assert rle_runs(text, 3, 4).shape == (0, 2)
    assert encode_rle(np.zeros((3, 4), bool)) == ""


def test_full_mask_is_one_run():
    assert encode_rle(np.ones((3, 4), bool)) == "1 12"
    assert decode_rle("1 12", 3, 4).all()


def test_long_and_short_runs_are_filled_alike():
    mask = np.ones((40, 500), bool)
    mask[::3, 100:103] = False
    np.testing.assert_array_equal(decode_rle(plain_text(mask), 40, 500), mask)


@pytest.mark.parametrize("text", ["1 2 3 1", "1\t2\n3 1", "  1 2  3 1 ", "01 2 003 1"])
def test_any_blanks_and_touching_runs_are_accepted(text):
    assert decode_rle(text, 1, 4).tolist() == [[True, True, True, False]]


BAD_TEXTS = [
    ("1 2 3", "RLE pair 2: start '3' has no length (3 numbers, an odd count)"),
    ("7", "RLE pair 1: start '7' has no length (1 numbers, an odd count)"),
    ("0 1", "RLE pair 1: start 0 is below 1, the first pixel"),
    ("1 1 -4 2", "RLE pair 2: start -4 is below 1, the first pixel"),
    ("5 0", "RLE pair 1: length 0 is below 1"),
    ("1 1 5 -1", "RLE pair 2: length -1 is below 1"),
    ("1 1 63 3", "RLE pair 2: the run 63 3 ends at pixel 65, but an image of 8 x 8 (height x width) has 64"),
    ("65 1", "RLE pair 1: the run 65 1 ends at pixel 65, but an image of 8 x 8 (height x width) has 64"),
    ("5 3 2 1", "RLE pair 2: start 2 is before the end of pair 1 at pixel 7; runs must be in order and apart"),
    ("5 3 7 1", "RLE pair 2: start 7 is before the end of pair 1 at pixel 7; runs must be in order and apart"),
    ("1 1 5 3 5 3", "RLE pair 3: start 5 is before the end of pair 2 at pixel 7; runs must be in order and apart"),
    ("x 1", "RLE pair 1: start 'x' is not a whole number"),
    ("1 2 3 y", "RLE pair 2: length 'y' is not a whole number"),
    ("1.0 2", "RLE pair 1: start '1.0' is not a whole number"),
    ("1 2e1", "RLE pair 1: length '2e1' is not a whole number"),
    ("+1 2", "RLE pair 1: start '+1' is not a whole number"),
    ("1_0 2", "RLE pair 1: start '1_0' is not a whole number"),
    ("1,2 3,4", "RLE pair 1: start '1,2' is not a whole number"),
    ("\u0661 2", "RLE pair 1: start '\u0661' is not a whole number"),
    ("1\x1c2 3", "RLE pair 1: start '1\\x1c2' is not a whole number"),
    ("nan 1", "RLE pair 1: start 'nan' is not a whole number"),
    ("1 9223372036854775807", "RLE pair 1: the run 1 9223372036854775807 ends at pixel 9223372036854775807, "
     "but an image of 8 x 8 (height x width) has 64"),
    ("99999999999999999999 99999999999999999999", "RLE pair 1: the run 99999999999999999999 99999999999999999999 "
     "ends at pixel 199999999999999999997, but an image of 8 x 8 (height x width) has 64"),
    ("1 " + "9" * 6000, "RLE pair 1: length '" + "9" * 56 + "... is not a whole number"),
    (None, "RLE: expected text, got NoneType None"),
    (float("nan"), "RLE: expected text, got float nan"),
    (b"1 2", "RLE: expected text, got bytes b'1 2'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BAD_TEXTS)
@pytest.mark.parametrize("decode", [decode_rle, rle_runs])
def test_damaged_texts_are_refused_by_pair(decode, text, message):
    with pytest.raises(ValueError) as caught:
        decode(text, 8, 8)
    assert str(caught.value) == message
    assert isinstance(caught.value, InputError)


def plain_verdict(numbers, pixels):
    end = 1
    for start, length in zip(numbers[::2], numbers[1::2], strict=False):
        if start < end or length < 1 or start + length - 1 > pixels:
            return False
        end = start + length
    return len(numbers) % 2 == 0


@given(st.lists(st.integers(-2, 30), max_size=8))
@settings(deadline=None, max_examples=500)
def test_accepted_exactly_when_the_plain_reference_accepts(numbers):
    text = " ".join(map(str, numbers))
    if plain_verdict(numbers, 24):
        assert decode_rle(text, 4, 6).sum() == sum(numbers[1::2])
    else:
        with pytest.raises(InputError, match=r"^RLE pair \d+: "):
            decode_rle(text, 4, 6)


@pytest.mark.parametrize(
    ("height", "width", "message"),
    [
        (0, 4, "image size: height and width must lie in 1..2147483647, got 0 x 4"),
        (4, -1, "image size: height and width must lie in 1..2147483647, got 4 x -1"),
        (2.0, 4, "image size: expected (height, width) as whole numbers, got (2.0, 4)"),
        (200_000, 200_000, "image size: 200000 x 200000 has 40000000000 pixels, more than the 2147483648 that one "
         "mask is decoded to"),
    ],
)  # fmt: skip
def test_impossible_image_sizes(height, width, message):
    with pytest.raises(InputError) as caught:
        decode_rle("", height, width)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((2, 3, 4), bool), "mask: expected shape [H, W], got [2, 3, 4]"),
        (np.zeros((2, 3)), "mask: expected bool or whole numbers, got float64"),
        (torch.zeros(5, dtype=torch.bool), "mask: expected shape [H, W], got [5]"),
    ],
)
def test_masks_of_another_form(mask, message):
    with pytest.raises(InputError) as caught:
        encode_rle(mask)
    assert str(caught.value) == message
