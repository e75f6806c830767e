"""The curves of several trainings in one plot."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cellseg.errors import InputError, MissingFileError
from cellseg.training.curves import read_curves
from cellseg.visualization.plots import _DPI, COLORS, _by_phase, _draw_curve, _save, plot_curves

LOSS = "loss"
_STYLES = ("o-", "s--", "^:", "v-.")  # of the scores of a training, which share its colour


def plot_trainings(work_dirs: Sequence[str | Path], out: str | Path, value: str | None = None) -> None:
    """Plot the curves of trainings: all values of one, or one training value of several with their validation scores.

    Args:
        work_dirs: work folders of ``tools/train.py``; each is named by its folder.
        out: PNG file to write.
        value: the training value to plot; None: the loss of several trainings, everything of one.

    Raises:
        MissingFileError: a folder has no ``curves.csv``.
        InputError: it holds no values, or not this one; or a folder is given twice.
    """
    if len(work_dirs) == 1 and value is None:
        plot_curves(Path(work_dirs[0]) / "curves.csv", out, _names(work_dirs)[0])
        return
    value = value or LOSS
    series = {}
    for name, folder in zip(_names(work_dirs), work_dirs, strict=True):
        path = Path(folder) / "curves.csv"
        if not path.is_file():
            raise MissingFileError(f"{path}: no such file; a training writes curves.csv into its work folder")
        series[name] = phases = _by_phase(read_curves(path))
        if value not in phases.get("train", {}):
            known = ", ".join(phases.get("train", {})) or "no training values"
            raise InputError(f"{path}: no training value {value!r}; it has {known}")
    scored = any("val" in phases for phases in series.values())
    figure = Figure(figsize=(5.6 * (1 + scored), 3.8), dpi=_DPI, layout="constrained")
    panels = figure.subplots(1, 1 + scored, squeeze=False)[0]
    for number, (name, phases) in enumerate(series.items()):
        color = COLORS[number % len(COLORS)]
        _draw_curve(panels[0], *phases["train"][value], name, color, smooth=True)
        for index, (score, points) in enumerate(phases.get("val", {}).items()):
            style = _STYLES[index % len(_STYLES)]
            panels[1].plot(*points, style, color=color, linewidth=1.0, markersize=3, label=f"{name}: {score}")
    _finish(panels[0], f"training: {value}")
    if scored:
        _finish(panels[1], "validation")
    _save(figure, out, "")


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("iteration")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=7, frameon=False)


def _names(work_dirs: Sequence[str | Path]) -> list[str]:
    """The shortest ends of the paths that tell the folders apart.

    Raises:
        InputError: a folder is given twice.
    """
    paths = [Path(folder).resolve() for folder in work_dirs]
    twice = [str(folder) for folder, path in zip(work_dirs, paths, strict=True) if paths.count(path) > 1]
    if twice:
        raise InputError(f"{twice[-1]}: given twice; name each work folder once")
    depth = 1
    while len({path.parts[-depth:] for path in paths}) < len(paths):
        depth += 1
    return ["/".join(path.parts[-depth:]) for path in paths]
