"""Maps over pictures and volumes: one scale, the right planes, refused input."""

import numpy as np
import pytest
import torch
from PIL import Image

from cellseg.errors import InputError
from cellseg.multimodal.explain import draw_maps, draw_volume


def read(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_panels_share_one_scale(tmp_path):
    """A map of half the weight is darker, and what is negative is drawn as nothing."""
    picture = np.zeros((20, 20), np.uint8)
    strong, weak = torch.ones(20, 20), torch.full((20, 20), 0.5)

    def brightest(maps):
        draw_maps(picture, torch.stack(maps), ["a", "b"], tmp_path / "maps.png")
        panels = read(tmp_path / "maps.png")
        middle = panels[panels.shape[0] // 2]
        return middle.sum(axis=1)

    both = brightest([strong, strong])
    unequal = brightest([strong, weak])
    assert (both != unequal).sum() > 50
    assert np.array_equal(brightest([strong, -strong]), brightest([strong, 0 * strong]))


def test_panels_fill_rows(tmp_path):
    maps = torch.rand(7, 10, 10)
    draw_maps(np.zeros((10, 10), np.uint8), maps, list("abcdefg"), tmp_path / "wide.png", columns=8)
    draw_maps(np.zeros((10, 10), np.uint8), maps, list("abcdefg"), tmp_path / "high.png", columns=4)
    wide, high = read(tmp_path / "wide.png").shape, read(tmp_path / "high.png").shape
    assert high[0] == pytest.approx(2 * wide[0], abs=2) and wide[1] > 1.6 * high[1]


def test_words_are_no_formulas(tmp_path):
    draw_maps(np.zeros((4, 4), np.uint8), torch.ones(1, 4, 4), ["$\\frac{"], tmp_path / "maps.png", title="$5 or $x_{")
    assert (tmp_path / "maps.png").is_file()


def test_a_volume_is_cut_through_its_most_important_voxel(tmp_path, monkeypatch):
    titles = []
    from matplotlib.axes import Axes

    keep = Axes.set_title
    monkeypatch.setattr(Axes, "set_title", lambda axes, text, **more: titles.append(text) or keep(axes, text, **more))
    weights = torch.zeros(4, 5, 6)
    weights[3, 1, 2] = 2.0
    volume = np.random.default_rng(0).normal(size=(4, 5, 6))
    draw_volume(volume, weights, tmp_path / "volume.png", "a title")
    assert titles == ["depth 3", "row 1", "column 2"]
    first = read(tmp_path / "volume.png")
    draw_volume(volume, torch.zeros(4, 5, 6), tmp_path / "other.png", "a title")
    assert (first != read(tmp_path / "other.png")).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda out: draw_maps(np.zeros((4, 4), np.uint8), torch.zeros(0, 4, 4), [], out),
            "maps: expected [N, 4, 4], found [0, 4, 4]",
        ),
        (
            lambda out: draw_maps(np.zeros((4, 4), np.uint8), torch.zeros(1, 4, 5), ["a"], out),
            "maps: expected [N, 4, 4], found [1, 4, 5]",
        ),
        (
            lambda out: draw_maps(np.zeros((4, 4), np.uint8), torch.zeros(1, 4, 4), [], out),
            "titles: expected 1, one for each map, found 0",
        ),
        (
            lambda out: draw_maps(np.zeros((4, 4, 4), np.uint8), torch.zeros(1, 4, 4), ["a"], out),
            "picture: expected uint8 [H, W] or [H, W, 3], found uint8 [4, 4, 4]",
        ),
        (
            lambda out: draw_maps(np.zeros((1, 1), np.uint8), torch.full((1, 1, 1), torch.nan), ["a"], out),
            "weights: expected 3 dimensions of finite numbers, found [1, 1, 1]",
        ),
        (
            lambda out: draw_maps(np.zeros((4, 4), np.uint8), torch.zeros(1, 4, 4), ["a"], out, columns=0),
            "columns: expected 1 or more, found 0",
        ),
        (
            lambda out: draw_volume(np.zeros((2, 3, 4)), torch.zeros(2, 3, 3), out),
            "weights: expected [2, 3, 4] as the volume, found [2, 3, 3]",
        ),
        (
            lambda out: draw_volume(np.full((1, 1, 1), np.inf), torch.zeros(1, 1, 1), out),
            "volume: expected finite numbers",
        ),
    ],
)
def test_what_cannot_be_drawn(call, message, tmp_path):
    with pytest.raises(InputError) as error:
        call(tmp_path / "out.png")
    assert str(error.value) == message
    assert not list(tmp_path.iterdir())
