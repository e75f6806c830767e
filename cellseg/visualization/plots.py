"""Plots as PNG files: the curves of a training, scores with their intervals, and how reliable predictions are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cellseg.errors import InputError, MissingFileError
from cellseg.io.files import atomic_path
from cellseg.metrics.reliability import ReliabilityCurve
from cellseg.training.curves import read_curves

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7f7f7f")
_DPI = 110


@dataclass(frozen=True)
class ScoreRow:
    """One row of a score plot.

    Args:
        name: what was scored.
        value: its score.
        low, high: ends of its interval; None draws none.
        points: single results behind it, for example one per fold or seed.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    points: Sequence[float] = ()


def plot_curves(curves: str | Path, out: str | Path, title: str = "") -> None:
    """Plot a ``curves.csv``: training values on the left, validation values on the right.

    Training values are drawn pale, with their mean over a twentieth of the run on top. Values that are not
    finite leave a gap.

    Args:
        curves: the file that a training wrote.
        out: PNG file to write.
        title: a line above the plot.

    Raises:
        MissingFileError: there is no such file.
        InputError: it holds no rows.
    """
    if not Path(curves).is_file():
        raise MissingFileError(f"{curves}: no such file; a training writes curves.csv into its work folder")
    series = _by_phase(read_curves(curves))
    if not series:
        raise InputError(f"{curves}: holds no values (expected rows iteration,phase,name,value)")
    figure = Figure(figsize=(5.6 * len(series), 3.8), dpi=_DPI, layout="constrained")
    panels = figure.subplots(1, len(series), squeeze=False)[0]
    for axes, (phase, values) in zip(panels, series.items(), strict=True):
        for index, (name, (iterations, numbers)) in enumerate(values.items()):
            _draw_curve(axes, iterations, numbers, name, COLORS[index % len(COLORS)], smooth=phase == "train")
        axes.set_xlabel("iteration")
        axes.set_title({"train": "training", "val": "validation"}.get(phase, phase), fontsize=10)
        axes.grid(alpha=0.25)
        axes.legend(fontsize=7, frameon=False)
    _save(figure, out, title)


def plot_scores(rows: Sequence[ScoreRow], out: str | Path, title: str = "", label: str = "competition mAP") -> None:
    """Plot scores, one line a row from top to bottom, with intervals and the single results behind them.

    Args:
        rows: what to show, in this order; the best value is drawn in another colour.
        out: PNG file to write.
        title: a line above the plot.
        label: name of the axis.

    Raises:
        InputError: no rows, a value that is not finite, or an interval with one end.
    """
    if not rows:
        raise InputError("a score plot needs at least one row")
    for row in rows:
        if not np.isfinite(row.value):
            raise InputError(f"row {row.name!r}: expected a finite value, found {row.value}")
        if (row.low is None) != (row.high is None):
            raise InputError(f"row {row.name!r}: an interval needs both ends, found {row.low} and {row.high}")
    figure = Figure(figsize=(6.4, 1.1 + 0.42 * len(rows)), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    best = max(range(len(rows)), key=lambda index: rows[index].value)
    for index, row in enumerate(rows):
        color = COLORS[1] if index == best else COLORS[0]
        if row.low is not None:
            axes.plot([row.low, row.high], [index, index], color=color, linewidth=2.2, solid_capstyle="butt")
        axes.plot(list(row.points), [index + 0.2] * len(row.points), ".", color=color, alpha=0.5, markersize=5)
        axes.plot([row.value], [index], "o", color=color, markersize=6)
        axes.annotate(
            f"{row.value:.3f}", (row.value, index), (0, 6), textcoords="offset points", ha="center", fontsize=7
        )
    axes.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.8)
    axes.set_xlabel(label)
    axes.grid(axis="x", alpha=0.25)
    _save(figure, out, title)


def plot_reliability(
    curve: ReliabilityCurve,
    out: str | Path,
    title: str = "",
    predicted: str = "1 - uncertainty",
    actual: str = "IoU with the true cell",
) -> None:
    """Plot what happened over what was predicted, with the number of predictions below.

    On the dashed line predictions would be right; the shaded distance to it is what the calibration error counts.
    Without predictions there is only that line.

    Args:
        curve: from ``reliability_curve``.
        out: PNG file to write.
        title: a line above the plot.
        predicted, actual: names of the axes.
    """
    rows = [row for row in curve.rows if row.count]
    figure = Figure(figsize=(4.4, 5.2), dpi=_DPI, layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    x, y = [row.mean_predicted for row in rows], [row.mean_actual for row in rows]
    top.plot([0, 1], [0, 1], "--", color=COLORS[7], linewidth=1.0)
    top.vlines(x, x, y, color=COLORS[1], alpha=0.35, linewidth=5)
    top.plot(x, y, "o-", color=COLORS[0], linewidth=1.6, markersize=5)
    top.set_ylabel(actual)
    top.set_ylim(0, 1)
    top.set_title(f"calibration error {curve.error:.3f}", fontsize=9)
    for row in rows:
        bottom.bar(row.lower, row.count, row.upper - row.lower, align="edge", color=COLORS[0], edgecolor="white")
    bottom.set_xlim(0, 1)
    bottom.set_xlabel(predicted)
    bottom.set_ylabel("count")
    for axes in (top, bottom):
        axes.grid(alpha=0.25)
    _save(figure, out, title)


def _by_phase(rows: list[tuple[int, str, str, float]]) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Phase -> name -> iterations and values; training first."""
    series: dict[str, dict[str, list]] = {}
    for iteration, phase, name, value in rows:
        series.setdefault(phase, {}).setdefault(name, []).append((iteration, value))
    ordered = sorted(series, key=lambda phase: (phase != "train", phase))
    return {
        phase: {name: tuple(np.array(values, float).T) for name, values in series[phase].items()} for phase in ordered
    }


def _running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Mean of the last ``width`` finite values up to each one; NaN where there is none."""
    finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    start = np.maximum(np.arange(1, len(values) + 1) - width, 0)
    number = counts[1:] - counts[start]
    return np.where(number > 0, (sums[1:] - sums[start]) / np.maximum(number, 1), np.nan)


def _draw_curve(axes: Axes, iterations: np.ndarray, values: np.ndarray, name: str, color: str, smooth: bool) -> None:
    if not smooth:
        axes.plot(iterations, values, "o-", color=color, linewidth=1.0, markersize=3, label=name)
        return
    axes.plot(iterations, values, color=color, alpha=0.25, linewidth=1.0)
    mean = _running_mean(values, max(len(values) // 20, 1))
    axes.plot(iterations, mean, color=color, linewidth=1.6, label=name)


def _save(figure: Figure, out: str | Path, title: str) -> None:
    if Path(out).suffix.lower() != ".png":
        raise InputError(f"{out}: plots are written as .png files")
    if title:
        figure.suptitle(title, fontsize=11)
    FigureCanvasAgg(figure)  # without pyplot: no display and no state shared between plots
    with atomic_path(out) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
