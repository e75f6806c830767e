"""Attention over the picture: resolution, layers, and what is drawn where."""

import numpy as np
import pytest
import torch
from PIL import Image

from cellseg.errors import InputError
from cellseg.multimodal.explain import attention_between, draw_attention, maps_over_picture
from cellseg.multimodal.values import Fused


def fused_of(attention):
    return Fused(torch.zeros(1, 1), {}, {}, attention)


def test_weights_are_found_by_reader_source_and_layer():
    attention = {f"text<-image/{layer}": torch.full((1, 1, 1, 1), float(layer)) for layer in (10, 2, 0)}
    attention["image<-text/0"] = torch.tensor(-1.0)
    for layer, value in ((-1, 10), (0, 0), (1, 2), (-3, 0)):
        assert attention_between(attention, "text", "image", layer) == value
    assert attention_between(attention, "image", "text") == -1


@pytest.mark.parametrize(
    ("names", "layer", "message"),
    [
        ([], -1, "no attention text<-image in layer -1; there are none (this fusion does not attend)"),
        (["text<-image/0"], 1, "no attention text<-image in layer 1; there are text<-image/0"),
        (["image<-text/0"], -1, "no attention text<-image in layer -1; there are image<-text/0"),
    ],
)
def test_weights_that_are_not_there(names, layer, message):
    with pytest.raises(InputError) as error:
        attention_between(dict.fromkeys(names, torch.zeros(1)), "text", "image", layer)
    assert str(error.value) == message


def interpolated(cells, size):
    """Bilinear interpolation between the centres of cells, one pixel after another."""
    rows, columns = cells.shape

    def around(place, count, length):
        center = min(max((place + 0.5) * count / length - 0.5, 0), count - 1)
        low = int(center)
        return low, min(low + 1, count - 1), center - low

    result = torch.zeros(size)
    for y in range(size[0]):
        for x in range(size[1]):
            y0, y1, down = around(y, rows, size[0])
            x0, x1, right = around(x, columns, size[1])
            above = cells[y0, x0] * (1 - right) + cells[y0, x1] * right
            below = cells[y1, x0] * (1 - right) + cells[y1, x1] * right
            result[y, x] = above * (1 - down) + below * down
    return result


def test_maps_are_interpolated_between_the_centres_of_cells():
    attention = torch.rand(2, 3, 4, 6)
    maps = maps_over_picture(attention, (2, 3), (9, 8))
    assert maps.shape == (2, 4, 9, 8)
    for row in range(2):
        for query in range(4):
            cells = attention[row, :, query].mean(0).view(2, 3)
            torch.testing.assert_close(maps[row, query], interpolated(cells, (9, 8)))


def test_a_grid_that_does_not_hold_the_tokens():
    with pytest.raises(InputError, match="^grid: 2 x 2 cells cannot hold 6 image tokens$"):
        maps_over_picture(torch.rand(1, 1, 1, 6), (2, 2), (4, 4))


def brightness(panel):
    return np.asarray(panel, float).mean(axis=2)


def test_each_word_is_drawn_where_it_looked(tmp_path):
    """The first word looks at the upper left cell, the second at the lower right one."""
    weights = torch.zeros(2, 1, 3, 4)
    weights[1, 0, 0, 0] = weights[1, 0, 1, 3] = 1.0
    picture = np.zeros((40, 40, 3), np.uint8)
    fused = fused_of({"text<-image/0": weights})
    out = tmp_path / "attention.png"
    draw_attention(fused, 1, picture, ["cell", "wall"], (2, 2), out)
    drawn = np.asarray(Image.open(out).convert("RGB"))
    # Three panels side by side, then the scale of colours.
    dark = brightness(drawn) < 30
    columns = np.flatnonzero(dark.mean(axis=0) > 0.3)
    panels = np.split(columns, np.flatnonzero(np.diff(columns) > 5) + 1)
    assert len(panels) >= 3
    first = drawn[:, panels[0][0] : panels[0][-1] + 1]
    assert brightness(first)[dark[:, panels[0][0] : panels[0][-1] + 1]].max() < 30  # the picture alone
    rows = np.flatnonzero(dark[:, panels[0]].mean(axis=1) > 0.5)
    width, height = panels[0][-1] - panels[0][0], rows[-1] - rows[0]
    gap = panels[1][-1] - panels[0][-1]

    def corner(panel, down, right):
        y = rows[0] + int(height * (0.1 + 0.8 * down))
        x = panels[0][0] + panel * gap + int(width * (0.1 + 0.8 * right))
        return brightness(drawn[y - 2 : y + 3, x - 2 : x + 3]).mean()

    assert corner(1, 0, 0) > 80 > 30 > corner(1, 1, 1)
    assert corner(2, 1, 1) > 80 > 30 > corner(2, 0, 0)


def test_pictures_are_repeatable(tmp_path):
    fused = fused_of({"text<-image/0": torch.rand(1, 2, 3, 4)})
    picture = np.arange(1200, dtype=np.uint8).reshape(30, 40)
    for name in ("one.png", "other.png"):
        draw_attention(fused, 0, picture, ["a", "b", "c"], (2, 2), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(row=1), "row: expected 0 to 0, found 1"),
        (dict(words=[]), "words: expected 1 to 3, one for each token of the text, found 0"),
        (dict(words=["a"] * 4), "words: expected 1 to 3, one for each token of the text, found 4"),
        (dict(grid=(1, 3)), "grid: 1 x 3 cells cannot hold 4 image tokens"),
        (
            dict(picture=np.zeros((4, 4))),
            "picture: expected uint8 [H, W] or [H, W, 3], found float64 [4, 4]",
        ),
        (dict(out="map.jpg"), "map.jpg: pictures are written as .png files"),
    ],
)
def test_what_cannot_be_drawn(change, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = dict(row=0, picture=np.zeros((4, 4), np.uint8), words=["a"], grid=(2, 2), out="map.png") | change
    with pytest.raises(InputError) as error:
        draw_attention(fused_of({"text<-image/0": torch.rand(1, 1, 3, 4)}), **options)
    assert str(error.value) == message
    assert not list(tmp_path.iterdir())
