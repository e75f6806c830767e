"""Plots: files that are right, repeatable and show what they should."""

import numpy as np
import pytest
import torch
from PIL import Image

from cellseg.errors import InputError, MissingFileError
from cellseg.metrics.reliability import reliability_curve
from cellseg.visualization import ScoreRow, plot_curves, plot_scores
from cellseg.visualization.plots import COLORS, _running_mean, plot_reliability


def read(path):
    return np.asarray(Image.open(path).convert("RGB"))


def holds(picture, color):
    """Whether the picture has pixels of a colour such as ``#0072b2``."""
    wanted = [int(color[start : start + 2], 16) for start in (1, 3, 5)]
    return bool((np.abs(picture.astype(int) - wanted) <= 1).all(2).any())


@pytest.fixture
def curves(tmp_path):
    rows = ["iteration,phase,name,value"]
    rows += [f"{i},train,loss,{2 - i / 50}\n{i},train,loss_mask,{'nan' if i == 7 else 1 / (i + 1)}" for i in range(60)]
    rows += [f"{i},val,mAP,{i / 100}" for i in range(0, 60, 20)]
    (tmp_path / "curves.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "curves.csv"


def test_curves_have_a_panel_for_each_phase(curves, tmp_path):
    plot_curves(curves, tmp_path / "both.png", "a title")
    both = read(tmp_path / "both.png")
    assert holds(both, COLORS[0]) and holds(both, COLORS[1])
    training = [line for line in curves.read_text().splitlines() if ",val," not in line]
    (tmp_path / "train.csv").write_text("\n".join(training) + "\n")
    plot_curves(tmp_path / "train.csv", tmp_path / "train.png")
    assert both.shape[1] == 2 * read(tmp_path / "train.png").shape[1]


def test_plots_are_repeatable(curves, tmp_path):
    rows = [ScoreRow("a", 0.2, 0.1, 0.3, (0.15, 0.25)), ScoreRow("b", 0.4)]
    for name in ("first", "second"):
        plot_curves(curves, tmp_path / f"curves_{name}.png")
        plot_scores(rows, tmp_path / f"scores_{name}.png")
    for kind in ("curves", "scores"):
        first, second = (tmp_path / f"{kind}_{name}.png" for name in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


def test_running_mean_is_over_the_last_finite_values():
    values = np.array([1.0, 3.0, np.nan, 5.0, np.inf, np.nan, np.nan])
    expected = [1.0, 2.0, 3.0, 5.0, 5.0, np.nan, np.nan]
    np.testing.assert_allclose(_running_mean(values, 2), expected)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (None, MissingFileError, "no such file; a training writes curves.csv into its work folder"),
        ("iteration,phase,name,value\n", InputError, "holds no values (expected rows iteration,phase,name,value)"),
    ],
)
def test_curves_that_are_none(tmp_path, text, error, message):
    if text is not None:
        (tmp_path / "c.csv").write_text(text)
    with pytest.raises(error) as caught:
        plot_curves(tmp_path / "c.csv", tmp_path / "out.png")
    assert str(caught.value) == f"{tmp_path / 'c.csv'}: {message}"
    assert not (tmp_path / "out.png").exists()


def test_scores_show_the_best_row_in_its_color_and_grow_with_rows(tmp_path):
    rows = [ScoreRow("yolox", 0.2, 0.15, 0.25), ScoreRow("ensemble", 0.4, 0.35, 0.45, (0.38, 0.42))]
    plot_scores(rows, tmp_path / "two.png", title="demo")
    plot_scores(rows[1:], tmp_path / "one.png", title="demo")
    two, one = read(tmp_path / "two.png"), read(tmp_path / "one.png")
    assert holds(two, COLORS[0]) and holds(two, COLORS[1])
    assert not holds(one, COLORS[0]) and holds(one, COLORS[1])
    assert two.shape[0] > one.shape[0]


def test_scores_draw_the_interval_where_it_is(tmp_path):
    plot_scores([ScoreRow("a", 0.5, 0.49, 0.51), ScoreRow("b", 0.0, -0.5, 0.5)], tmp_path / "a.png")
    picture = read(tmp_path / "a.png").astype(int)
    blue = (np.abs(picture - [0x00, 0x72, 0xB2]) <= 1).all(2)
    orange = (np.abs(picture - [0xD5, 0x5E, 0x00]) <= 1).all(2)
    assert np.ptp(np.nonzero(blue)[1]) > 10 * np.ptp(np.nonzero(orange)[1])
    assert np.nonzero(orange)[0].mean() < np.nonzero(blue)[0].mean()  # first row on top


@pytest.mark.parametrize(
    ("rows", "name", "message"),
    [
        ([], "a.png", "a score plot needs at least one row"),
        ([ScoreRow("m", float("nan"))], "a.png", "row 'm': expected a finite value, found nan"),
        ([ScoreRow("m", 0.1, 0.0)], "a.png", "row 'm': an interval needs both ends, found 0.0 and None"),
        ([ScoreRow("m", 0.1)], "a.jpg", "{out}: plots are written as .png files"),
    ],
)
def test_score_rows_are_checked(tmp_path, rows, name, message):
    with pytest.raises(InputError) as caught:
        plot_scores(rows, tmp_path / name)
    assert str(caught.value) == message.format(out=tmp_path / name)
    assert not list(tmp_path.iterdir())


def shaded(path):
    """Pixels of the distance between the curve and the line on which predictions are right."""
    return int((np.abs(read(path).astype(int) - [0xF1, 0xC6, 0xA5]).max(2) <= 12).sum())


def test_reliability_shows_how_far_predictions_are_off(tmp_path):
    predicted = torch.linspace(0, 1, 200)
    for name, actual in (("right", predicted), ("near", predicted * 0.8), ("far", predicted * 0.4)):
        plot_reliability(reliability_curve(predicted, actual), tmp_path / f"{name}.png", name)
    right, near, far = (shaded(tmp_path / f"{name}.png") for name in ("right", "near", "far"))
    assert right < near < far
    assert holds(read(tmp_path / "far.png"), COLORS[0])


def test_reliability_is_repeatable_and_may_be_empty(tmp_path):
    predicted = torch.rand(50, generator=torch.Generator().manual_seed(0))
    for name in ("first.png", "second.png"):
        plot_reliability(reliability_curve(predicted, predicted > 0.5, 5), tmp_path / name, "a title")
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
    plot_reliability(reliability_curve(torch.zeros(0), torch.zeros(0)), tmp_path / "none.png")
    assert not holds(read(tmp_path / "none.png"), COLORS[0])
    with pytest.raises(InputError, match="plots are written as .png files"):
        plot_reliability(reliability_curve(predicted, predicted), tmp_path / "a.pdf")
