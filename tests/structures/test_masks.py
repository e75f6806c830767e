"""``CropMasks`` against dense arrays, on every device of the machine."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cellseg.errors import InputError
from cellseg.structures import CropMasks
from cellseg.structures.rle import encode_rle, to_coco_rle


@st.composite
def crops_and_dense(draw, kind=torch.bool):
    """Masks in loose, tight, empty and overlapping windows, with the dense array that they stand for."""
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    count = draw(st.integers(0, 5))
    windows, crops = [], []
    dense = torch.zeros(count, height, width, dtype=kind)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    share = draw(st.sampled_from([0.05, 0.5, 0.95, 1.0]))
    for index in range(count):
        x0, x1 = sorted(draw(st.tuples(st.integers(0, width), st.integers(0, width))))
        y0, y1 = sorted(draw(st.tuples(st.integers(0, height), st.integers(0, height))))
        values = torch.rand(y1 - y0, x1 - x0, generator=generator)
        crop = values < share if kind == torch.bool else values * (values < share)
        dense[index, y0:y1, x0:x1] = crop
        windows.append((x0, y0, x1, y1))
        crops.append(crop.reshape(-1))
    windows = torch.tensor(windows, dtype=torch.int64).reshape(-1, 4)
    values = torch.cat(crops) if crops else torch.zeros(0, dtype=kind)
    return CropMasks(windows, values, (height, width)), dense


def plain_window(mask):
    """Smallest window around what is not 0, pixel by pixel."""
    places = [(x, y) for y in range(mask.shape[0]) for x in range(mask.shape[1]) if mask[y, x]]
    if not places:
        return [0, 0, 0, 0]
    columns, rows = zip(*places, strict=True)
    return [min(columns), min(rows), max(columns) + 1, max(rows) + 1]


def same(a, b):
    return (
        a.image_size == b.image_size
        and a.dtype == b.dtype
        and torch.equal(a.windows, b.windows)
        and torch.equal(a.values, b.values)
    )


both_kinds = st.sampled_from([torch.bool, torch.float32]).flatmap(crops_and_dense)
quickly = settings(deadline=None, max_examples=150)


@given(both_kinds)
@quickly
def test_dense_and_back_with_tight_windows(pair):
    masks, dense = pair
    assert torch.equal(masks.to_dense(), dense)
    again = CropMasks.from_dense(dense)
    assert torch.equal(again.to_dense(), dense)
    assert again.windows.tolist() == [plain_window(mask) for mask in dense]


@given(both_kinds)
@quickly
def test_pixel_index_names_every_window_pixel_in_order(pair):
    masks, _ = pair
    instance, position = masks.pixel_index()
    width = masks.image_size[1]
    expected = [
        (index, y * width + x)
        for index, (x0, y0, x1, y1) in enumerate(masks.windows.tolist())
        for y in range(y0, y1)
        for x in range(x0, x1)
    ]
    assert list(zip(instance.tolist(), position.tolist(), strict=True)) == expected


@given(crops_and_dense())
@quickly
def test_foreground_areas_boxes_and_tight_windows(pair):
    masks, dense = pair
    instance, position = masks.foreground_index()
    expected = torch.nonzero(dense.flatten(1))
    assert torch.equal(torch.stack((instance, position), dim=1), expected)
    assert masks.areas().tolist() == dense.sum(dim=(1, 2)).tolist()
    tight = masks.tight()
    assert tight.windows.tolist() == [plain_window(mask) for mask in dense]
    assert torch.equal(tight.to_dense(), dense)
    assert masks.boxes().dtype == torch.float32
    assert masks.boxes().tolist() == tight.windows.tolist()


@given(crops_and_dense(torch.float32), st.floats(0, 1, width=32))
@quickly
def test_thresholds_sums_and_areas_of_probabilities(pair, limit):
    masks, dense = pair
    assert torch.equal(masks.threshold(limit).to_dense(), dense > limit)
    limits = torch.linspace(0, 1, len(masks), dtype=torch.float64)
    assert torch.equal(masks.threshold(limits).to_dense(), dense > limits.float()[:, None, None])
    assert torch.equal(masks.windows, masks.threshold(limit).windows)
    assert masks.areas().tolist() == (dense > 0.5).sum(dim=(1, 2)).tolist()
    torch.testing.assert_close(masks.sums(), dense.double().sum(dim=(1, 2)), rtol=1e-12, atol=0)


def test_one_threshold_for_all_and_for_each_agree_at_the_edge():
    masks = CropMasks(torch.tensor([[0, 0, 2, 1]]), torch.tensor([0.1, 0.7]), (1, 2))
    for limit in (0.1, 0.7):
        assert torch.equal(
            masks.threshold(limit).values, masks.threshold(torch.tensor([limit], dtype=torch.float64)).values
        )
        assert torch.equal(masks.threshold(limit).values, masks.threshold(torch.tensor(limit)).values)
    assert masks.threshold(0.1).values.tolist() == [False, True]


@given(both_kinds, st.data())
@quickly
def test_other_windows_show_the_same_image(pair, data):
    masks, dense = pair
    height, width = masks.image_size
    windows = []
    for _ in range(len(masks)):
        x0, x1 = sorted(data.draw(st.tuples(st.integers(0, width), st.integers(0, width))))
        y0, y1 = sorted(data.draw(st.tuples(st.integers(0, height), st.integers(0, height))))
        windows.append((x0, y0, x1, y1))
    seen = masks.rewindow(torch.tensor(windows, dtype=torch.int64).reshape(-1, 4))
    assert seen.windows.tolist() == [list(window) for window in windows]
    for index, (x0, y0, x1, y1) in enumerate(windows):
        assert torch.equal(seen.crop(index), dense[index, y0:y1, x0:x1])


@given(both_kinds, st.data())
@quickly
def test_indexing_like_a_tensor(pair, data):
    masks, dense = pair
    count = len(masks)
    chosen = data.draw(st.lists(st.integers(-count, count - 1), max_size=6) if count else st.just([]))
    picked = torch.tensor(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)), dtype=torch.bool)
    step = data.draw(st.sampled_from([1, 2]))
    indices = [chosen, torch.tensor(chosen, dtype=torch.int64), np.array(chosen, np.int64), picked]
    for index in indices:
        part = masks[index]
        assert torch.equal(part.to_dense(), dense[torch.as_tensor(index).long() if index is chosen else index])
        assert torch.equal(part.windows, CropMasks(part.windows, part.values, part.image_size).windows)
    assert torch.equal(masks[1::step].to_dense(), dense[1::step])
    for index in chosen[:1]:
        assert torch.equal(masks[index].to_dense(), dense[[index]])
        assert torch.equal(masks[torch.tensor(index)].to_dense(), dense[[index]])


def test_indexing_outside_ends_iteration():
    masks = CropMasks.from_dense(torch.ones(3, 2, 2, dtype=torch.bool))
    assert [len(one) for one in masks] == [1, 1, 1]
    for wrong in (3, -4, torch.tensor([True])):
        with pytest.raises(IndexError):
            masks[wrong]
    with pytest.raises(IndexError):
        masks.crop(3)


@given(both_kinds)
@quickly
def test_crops_are_views_and_make_the_same_masks(pair):
    masks, dense = pair
    crops = [masks.crop(index) for index in range(len(masks))]
    if crops:
        assert same(CropMasks.from_crops(crops, masks.windows, masks.image_size), masks)
        heights, widths = masks.window_sizes()
        assert [list(crop.shape) for crop in crops] == torch.stack((heights, widths), dim=1).tolist()
        crops[-1][:] = True
        x0, y0, x1, y1 = masks.windows[-1].tolist()
        assert masks.to_dense()[-1, y0:y1, x0:x1].all()
        assert torch.equal(masks.to_dense()[:-1], dense[:-1])


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4))
@quickly
def test_cat_keeps_the_order(counts):
    parts = [torch.rand(count, 4, 5) < 0.5 for count in counts]
    together = CropMasks.cat([CropMasks.from_dense(part) for part in parts])
    assert torch.equal(together.to_dense(), torch.cat(parts))


@given(crops_and_dense())
@quickly
def test_codes_are_those_of_each_dense_mask_and_come_back(pair):
    masks, dense = pair
    tight = masks.tight()
    assert masks.to_rle() == [encode_rle(mask) for mask in dense]
    assert masks.to_coco_rle() == [to_coco_rle(mask) for mask in dense]
    assert same(CropMasks.from_rle(masks.to_rle(), masks.image_size), tight)
    assert same(CropMasks.from_coco_rle(masks.to_coco_rle(), masks.image_size), tight)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["1   2", "5 6"], ["1 2", "5 6"]),
        (["1\t2\t3 4", "9   6"], ["1 6", "9 6"]),
        (["", " ", "5  6 "], ["", "", "5 6"]),
    ],
)
def test_texts_with_odd_blanks_stay_with_their_instances(texts, expected):
    assert CropMasks.from_rle(texts, (8, 8)).to_rle() == expected


def test_codes_never_make_an_image():
    size = (60_000, 60_000)
    texts = [f"{60_000 * row + 7} 9 {60_000 * (row + 1) + 5} 20" for row in range(0, 50_000, 500)]
    tracemalloc.start()
    try:
        masks = CropMasks.from_rle(texts, size)
        assert masks.to_rle() == texts
        assert same(CropMasks.from_coco_rle(masks.to_coco_rle(), size), masks)
        assert not masks.overlaps()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert masks.values.numel() == 100 * 2 * 20
    assert peak < 5_000_000


def test_everything_on_a_device(device):
    dense = torch.rand(6, 20, 30, generator=torch.Generator().manual_seed(0)).round().bool()
    dense[2] = False
    masks = CropMasks.from_dense(dense.to(device))
    assert masks.device == masks.windows.device == device
    assert torch.equal(masks.to_dense().cpu(), dense)
    assert masks.areas().tolist() == dense.sum(dim=(1, 2)).tolist()
    assert masks.overlaps()
    whole = torch.tensor([[0, 0, 30, 20]]).expand(6, 4)
    loose = masks.rewindow(whole)
    assert torch.equal(loose.values.cpu(), dense.reshape(-1))
    assert same(loose.tight(), masks)
    assert torch.equal(loose.foreground_index()[1].cpu(), dense.flatten(1).nonzero()[:, 1])
    probabilities = CropMasks(loose.windows, loose.values.float() * 0.75, (20, 30))
    assert torch.equal(probabilities.threshold(torch.full((6,), 0.5)).values, loose.values)
    assert probabilities.sums().tolist() == (dense.sum(dim=(1, 2)) * 0.75).tolist()
    assert torch.equal(masks[[4, 1]].to_dense().cpu(), dense[[4, 1]])
    assert same(CropMasks.from_rle(masks.to_rle(), (20, 30)).to(device), masks)
    assert same(CropMasks.cat([masks[:3], masks[3:]]), masks)
    assert CropMasks.empty((4, 5), device=device).device == device


def test_no_instances():
    for kind in (torch.bool, torch.float32):
        masks = CropMasks.empty((3, 4), dtype=kind)
        assert len(masks) == 0 and masks.dtype == kind and masks.to_dense().shape == (0, 3, 4)
        assert masks.areas().shape == masks.sums().shape == (0,)
    masks = CropMasks.empty((3, 4))
    assert masks.boxes().shape == (0, 4)
    assert masks.to_rle() == masks.to_coco_rle() == masks.to_polygons() == []
    assert len(CropMasks.from_crops([], torch.zeros(0, 4), (3, 4))) == len(CropMasks.from_rle([], (3, 4))) == 0
    assert not masks.overlaps() and not masks.to_label_image().any()
    assert len(masks.tight()) == len(masks.rewindow(masks.windows)) == len(masks[[]]) == 0


def test_other_number_types_are_converted():
    masks = CropMasks(np.array([[0, 0, 2, 1]], np.int32), np.array([0.25, 1.0]), [1, 2])
    assert masks.windows.dtype == torch.int64 and masks.dtype == torch.float32 and masks.image_size == (1, 2)
    counted = CropMasks.from_dense(np.array([[[0, 255], [3, 0]]], np.uint8))
    assert counted.to_dense().tolist() == [[[False, True], [True, False]]]


def test_text_form_names_what_matters():
    masks = CropMasks(torch.tensor([[0, 0, 2, 1]]), torch.tensor([True, False]), (5, 6))
    assert repr(masks) == "CropMasks(1 masks, bool, 2 pixels, image (5, 6), cpu)"


ONES = torch.ones(4, dtype=torch.bool)
BAD_PARTS = [
    ([[0, 0, 2, 2]], ONES[:3], (8, 9), "values: the 1 windows have 4 pixels, got 3 values"),
    ([[0, 0, 2, 1], [0, 0, 10, 2]], ONES, (8, 9), "windows: expected 0 <= x0 <= x1 <= 9 and 0 <= y0 <= y1 <= 8, "
     "got (x0, y0, x1, y1) = (0, 0, 10, 2) in row 1"),
    ([[0, 7, 2, 9]], ONES, (8, 9), "windows: expected 0 <= x0 <= x1 <= 9 and 0 <= y0 <= y1 <= 8, "
     "got (x0, y0, x1, y1) = (0, 7, 2, 9) in row 0"),
    ([[-1, 0, 3, 1]], ONES, (8, 9), "windows: expected 0 <= x0 <= x1 <= 9 and 0 <= y0 <= y1 <= 8, "
     "got (x0, y0, x1, y1) = (-1, 0, 3, 1) in row 0"),
    ([[0, -1, 1, 3]], ONES, (8, 9), "windows: expected 0 <= x0 <= x1 <= 9 and 0 <= y0 <= y1 <= 8, "
     "got (x0, y0, x1, y1) = (0, -1, 1, 3) in row 0"),
    ([[4, 4, 2, 2]], ONES, (8, 9), "windows: expected 0 <= x0 <= x1 <= 9 and 0 <= y0 <= y1 <= 8, "
     "got (x0, y0, x1, y1) = (4, 4, 2, 2) in row 0"),
    ([0, 0, 2, 2], ONES, (8, 9), "windows: expected shape [N, 4], got [4]"),
    ([[0, 0, 2]], ONES, (8, 9), "windows: expected shape [N, 4], got [1, 3]"),
    ([[0.0, 0.0, 2.0, 2.0]], ONES, (8, 9), "windows: expected whole numbers, got torch.float32"),
    ([[0, 0, 2, 2]], ONES.int(), (8, 9), "values: expected bool or float32, got torch.int32"),
    ([[0, 0, 2, 2]], ONES.view(2, 2), (8, 9), "values: expected shape [P], got [2, 2]"),
    ([[0, 0, 2, 2]], ONES, (8,), "image size: expected (height, width) as whole numbers, got (8,)"),
    ([[0, 0, 2, 2]], ONES, (8, 0), "image size: height and width must lie in 1..2147483647, got 8 x 0"),
]  # fmt: skip


@pytest.mark.parametrize(("windows", "values", "image_size", "message"), BAD_PARTS)
def test_wrong_parts_are_refused(windows, values, image_size, message):
    with pytest.raises(InputError) as caught:
        CropMasks(torch.tensor(windows), values, image_size)
    assert str(caught.value) == message


def _probabilities():
    return CropMasks(torch.tensor([[0, 0, 2, 2]]), torch.rand(4), (8, 8))


def _masks():
    return CropMasks(torch.tensor([[0, 0, 2, 2]]), ONES, (8, 8))


BAD_CALLS = [
    (lambda: _masks().threshold(0.5), "expected probabilities (float32), got torch.bool values"),
    (lambda: _probabilities().to_rle(), "expected bool masks, which threshold() makes, got torch.float32 values"),
    (lambda: _probabilities().tight(), "expected bool masks, which threshold() makes, got torch.float32 values"),
    (lambda: _probabilities().boxes(), "expected bool masks, which threshold() makes, got torch.float32 values"),
    (lambda: _probabilities().overlaps(), "expected bool masks, which threshold() makes, got torch.float32 values"),
    (lambda: _probabilities().threshold(torch.zeros(2)), "threshold: expected a number or shape [1], got [2]"),
    (lambda: _masks().rewindow(torch.tensor([[0, 0, 9, 2]])), "windows: expected 0 <= x0 <= x1 <= 8 and "
     "0 <= y0 <= y1 <= 8, got (x0, y0, x1, y1) = (0, 0, 9, 2) in row 0"),
    (lambda: _masks().rewindow(torch.zeros(2, 4).long()), "windows: expected shape [1, 4], got [2, 4]"),
    (lambda: CropMasks.from_dense(torch.ones(3, 3)), "masks: expected shape [N, H, W], got [3, 3]"),
    (lambda: CropMasks.from_crops([ONES.view(1, 4)], torch.tensor([[0, 0, 2, 2]]), (8, 8)),
     "crop 0: expected shape [2, 2] like its window, got [1, 4]"),
    (lambda: CropMasks.from_crops([], torch.tensor([[0, 0, 2, 2]]), (8, 8)),
     "crops: expected one for each of 1 windows, got 0"),
    (lambda: CropMasks.cat([]), "cat: expected at least one CropMasks, got none"),
    (lambda: CropMasks.cat([_masks(), CropMasks.empty((8, 9))]), "cat: expected one image size, type and device, "
     "got [\"((8, 8), torch.bool, device(type='cpu'))\", \"((8, 9), torch.bool, device(type='cpu'))\"]"),
    (lambda: CropMasks.from_rle(["1 2", "", "1 2 3"], (8, 8)),
     "instance 2: RLE pair 2: start '3' has no length (3 numbers, an odd count)"),
    (lambda: CropMasks.from_rle(["1 2 63 3", "1 2"], (8, 8)), "instance 0: RLE pair 2: the run 63 3 ends at pixel 65, "
     "but an image of 8 x 8 (height x width) has 64"),
    (lambda: CropMasks.from_rle(["9 2", "5 3 7 1"], (8, 8)), "instance 1: RLE pair 2: start 7 is before the end of "
     "pair 1 at pixel 7; runs must be in order and apart"),
    (lambda: CropMasks.from_rle(["1 1", "9223372036854775807 5"], (8, 8)), "instance 1: RLE pair 1: the run "
     "9223372036854775807 5 ends at pixel 9223372036854775811, but an image of 8 x 8 (height x width) has 64"),
    (lambda: CropMasks.from_rle(["1 2", float("nan")], (8, 8)), "instance 1: RLE: expected text, got float nan"),
    (lambda: CropMasks.from_rle("1 2", (8, 8)), "RLE: expected a list of texts, got one text '1 2'"),
    (lambda: CropMasks.from_rle(["1 1 39999999999 1"], (200_000, 200_000)),
     "the windows of 1 masks take more than 2147483648 pixels: refused"),
    (lambda: CropMasks.from_coco_rle([{"size": [8, 8], "counts": [64]}, {"size": [8, 8], "counts": [3, 2]}], (8, 8)),
     "instance 1: COCO RLE: the counts add up to 5, but an image of 8 x 8 (height x width) has 64 pixels"),
    (lambda: CropMasks.from_coco_rle([{"size": [4, 16], "counts": [64]}], (8, 8)),
     "instance 0: COCO RLE of size 4 x 16 in an image of 8 x 8 (height x width)"),
    (lambda: CropMasks.empty((70_000, 70_000)).cat([CropMasks.from_rle(["1 1"], (70_000, 70_000))]).to_coco_rle(),
     "COCO RLE: an image of 4900000000 pixels is more than its 32-bit counts hold"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_wrong_calls_are_refused(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == message
