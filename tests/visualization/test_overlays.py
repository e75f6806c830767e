"""Outlines, comparisons and sheets, checked pixel by pixel."""

import numpy as np
import pytest
import torch

from cellseg.errors import InputError
from cellseg.structures import CropMasks, Instances
from cellseg.visualization import draw_comparison, draw_outlines, draw_sheet
from cellseg.visualization.overlays import FOUND, INVENTED, MISSED, PALETTE

RED = (255, 0, 0)


def masks_of(dense) -> CropMasks:
    return CropMasks.from_dense(torch.as_tensor(np.asarray(dense)))


def plain_outline(mask, width):
    """Mask pixels from which a pixel outside is reached in at most ``width`` steps to the side, up or down."""
    outline = np.zeros_like(mask)
    height, length = mask.shape
    for y, x in zip(*np.nonzero(mask), strict=True):
        for dy in range(-width, width + 1):
            for dx in range(-(width - abs(dy)), width - abs(dy) + 1):
                inside = 0 <= y + dy < height and 0 <= x + dx < length
                outline[y, x] |= not (inside and mask[y + dy, x + dx])
    return outline


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_outlines_lie_on_the_edge_pixels_of_the_mask(seed, width):
    mask = np.kron(np.random.default_rng(seed).random((5, 6)) < 0.6, np.ones((5, 5), bool))
    image = np.full(mask.shape, 9, np.uint8)
    drawn = draw_outlines(image, masks_of(mask[None]), [RED], width)
    assert drawn.dtype == np.uint8 and drawn.shape == (25, 30, 3)
    expected = np.where(plain_outline(mask, width)[:, :, None], RED, 9)
    assert np.array_equal(drawn, expected)
    assert (image == 9).all()


def test_rgb_image_is_copied_and_each_mask_takes_its_color():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    before = image.copy()
    dense = np.zeros((2, 8, 8), bool)
    dense[0, 0, 0] = dense[1, 7, 7] = True
    drawn = draw_outlines(image, masks_of(dense), [RED, (0, 0, 255)])
    assert drawn[0, 0].tolist() == [255, 0, 0] and drawn[7, 7].tolist() == [0, 0, 255]
    assert np.array_equal(image, before)
    assert (drawn != image).any(2).sum() == 2


def test_no_masks_draw_nothing():
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert np.array_equal(draw_outlines(image, CropMasks.empty((8, 8))), np.dstack([image] * 3))


def test_neighbours_get_different_colors_and_drawing_is_repeatable():
    labels = np.kron(np.arange(1, 101).reshape(10, 10), np.ones((8, 8), int))
    masks = CropMasks.from_label_image(torch.as_tensor(labels))
    drawn = draw_outlines(np.zeros((80, 80), np.uint8), masks)
    assert np.array_equal(drawn, draw_outlines(np.zeros((80, 80), np.uint8), masks))
    color = drawn[::8, ::8].astype(int)  # upper left corner of each cell
    assert {tuple(c) for c in color.reshape(-1, 3)} <= set(PALETTE)
    assert (color[1:] != color[:-1]).any(2).all() and (color[:, 1:] != color[:, :-1]).any(2).all()
    assert len({tuple(c) for c in color.reshape(-1, 3)}) == len(PALETTE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "an outline is at least 1 pixel wide, not 0"),
        ({"colors": [RED, RED]}, "expected one colour or one for each of 3 masks, found 2"),
    ],
)
def test_outline_options_are_checked(options, message):
    dense = np.zeros((3, 8, 8), bool)
    with pytest.raises(InputError) as caught:
        draw_outlines(np.zeros((8, 8), np.uint8), masks_of(dense), **options)
    assert str(caught.value) == message


def test_masks_of_another_image_are_refused():
    with pytest.raises(InputError) as caught:
        draw_outlines(np.zeros((8, 9), np.uint8), CropMasks.empty((9, 8)))
    assert str(caught.value) == "masks of an image of (height, width) (9, 8) cannot be drawn on (8, 9)"


@pytest.fixture
def pair():
    """Three true cells; the first is predicted well, the second badly, the third not at all."""
    truth = np.zeros((3, 60, 60), bool)
    truth[0, 2:22, 2:22] = truth[1, 2:22, 32:52] = truth[2, 32:52, 2:22] = True
    predicted = np.zeros((2, 60, 60), bool)
    predicted[0, 3:22, 2:22] = predicted[1, 2:12, 30:50] = True
    return masks_of(truth), masks_of(predicted)


def test_comparison_tells_found_missed_and_invented_apart(pair):
    truth, predicted = pair
    image = np.full((60, 60), 100, np.uint8)
    drawn = draw_comparison(image, truth, predicted, legend=False)
    assert drawn.shape == (60, 60, 3)
    assert tuple(drawn[3, 2]) == FOUND
    assert tuple(drawn[2, 2]) == (100, 100, 100)  # the truth of a found cell is not drawn
    assert tuple(drawn[21, 51]) == MISSED and tuple(drawn[32, 2]) == MISSED
    assert tuple(drawn[2, 30]) == INVENTED
    expected = draw_outlines(draw_outlines(image, truth[1:], [MISSED]), predicted, [FOUND, INVENTED])
    assert np.array_equal(drawn, expected)


def test_comparison_legend_counts_in_every_color(pair):
    image = np.zeros((60, 200), np.uint8)
    dense = np.zeros((1, 60, 200), bool)
    dense[0, :9, :9] = True
    drawn = draw_comparison(image, masks_of(dense), masks_of(dense[:0]))
    assert drawn.shape == (80, 200, 3)
    strip = drawn[60:].reshape(-1, 3).tolist()
    assert all(list(color) in strip for color in (FOUND, MISSED, INVENTED))
    assert [255, 255, 255] in strip  # text
    more = draw_comparison(image, masks_of(dense), masks_of(dense))
    assert not np.array_equal(more[60:], drawn[60:])


@pytest.mark.parametrize(("truths", "predictions"), [(0, 0), (0, 1), (1, 0)])
def test_comparison_with_nothing_on_a_side(truths, predictions):
    dense = np.zeros((1, 20, 20), bool)
    dense[0, 5:15, 5:15] = True
    drawn = draw_comparison(
        np.zeros((20, 20), np.uint8), masks_of(dense[:truths]), masks_of(dense[:predictions]), legend=False
    )
    expected = MISSED if truths else INVENTED if predictions else (0, 0, 0)
    assert tuple(drawn[5, 5]) == expected


def test_sheet_puts_tiles_in_rows_with_titles():
    images = [np.full((40, 80), value, np.uint8) for value in (50, 100, 150)]
    dense = np.zeros((1, 40, 80), bool)
    dense[0, 10:30, 10:30] = True
    masks = masks_of(dense)
    instances = Instances(masks.boxes(), torch.ones(1), torch.zeros(1).long(), masks, (40, 80), ("cort",))
    sheet = draw_sheet(images, [None, masks, instances], ["first", "second", "third"], columns=2, tile=40)
    assert sheet.shape == (2 * 60, 80, 3)
    tiles = [sheet[row : row + 60, column : column + 40] for row in (0, 60) for column in (0, 40)]
    assert (tiles[0][20:40] == 50).all() and (tiles[0][40:] == 0).all()
    assert all(tile[:20].max() > 180 for tile in tiles[:3])  # titles
    assert (tiles[3] == 0).all()
    # 80 columns shrink to 40: the outline, drawn two pixels wide, keeps its full colour.
    for tile, value in zip(tiles[1:3], (100, 150), strict=True):
        colors = {tuple(color) for color in tile[20:40].reshape(-1, 3)}
        assert PALETTE[0] in colors and (value,) * 3 in colors


def test_sheet_cuts_long_titles_and_replaces_letters_it_cannot_draw():
    image = np.zeros((30, 30), np.uint8)
    long = draw_sheet([image], [None], ["a" * 200], tile=60)
    assert long.shape == (80, 60, 3) and long[:20, :50].max() > 180 and long[:20, -4:].max() == 0
    assert np.array_equal(draw_sheet([image], [None], ["\u00fc"]), draw_sheet([image], [None], ["?"]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ([np.zeros((9, 9), np.uint8)], [], ["a"]),
            "a sheet needs as many masks and titles as images: 1 images, 0 masks, 1 titles",
        ),
        (([], [], []), "a sheet needs an image, a column and tiles of at least 16 pixels"),
    ],
)
def test_sheet_arguments_are_checked(arguments, message):
    with pytest.raises(InputError) as caught:
        draw_sheet(*arguments)
    assert str(caught.value) == message
