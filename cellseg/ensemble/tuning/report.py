"""What a tuning found and what it is worth, as JSON, Markdown and plots."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cellseg.ensemble.settings import EnsembleSettings
from cellseg.ensemble.tuning.cases import Interval
from cellseg.ensemble.tuning.cross_validation import CrossValidation, UnseenRow
from cellseg.ensemble.tuning.effects import FUSION, MEMBER, SCHEME, STAGE
from cellseg.ensemble.tuning.measure import Measured
from cellseg.ensemble.tuning.oracle import CEILINGS
from cellseg.ensemble.tuning.pool_tuning import PoolTuning
from cellseg.ensemble.tuning.reliability import Reliability
from cellseg.io.files import atomic_path, write_json, write_text
from cellseg.visualization.plots import COLORS, plot_reliability


@dataclass(frozen=True)
class TuningReport:
    """What ``tune_ensemble`` found.

    Attributes:
        tuning: on all images of the split.
        split: which split of the data folder.
        images, groups: how many there are.
        cross_validation: scores on images that their tuning did not see; None where there was none.
        measured: None where no report was asked for.
    """

    tuning: PoolTuning
    split: str
    images: int
    groups: int
    cross_validation: CrossValidation | None = None
    measured: Measured | None = None

    @property
    def types(self) -> tuple[str, ...]:
        """Cell types that got settings of their own."""
        return tuple(self.tuning.settings.types)


def write_report(report: TuningReport, folder: str | Path) -> None:
    """Write ``report.json``, ``report.md``, ``history.png`` and, where cells were found, ``reliability.png``."""
    folder = Path(folder)
    write_json(folder / "report.json", report_json(report))
    write_text(folder / "report.md", report_markdown(report))
    if report.measured.reliability.cells:
        plot_reliability(report.measured.reliability.curve, folder / "reliability.png", "certainty of the cells")
    _plot_history(report.tuning.history, folder / "history.png")


def report_json(report: TuningReport) -> dict[str, Any]:
    """The report as plain values."""
    content: dict[str, Any] = {
        "split": report.split,
        "images": report.images,
        "groups": report.groups,
        "scores": report.tuning.scores(),
        "settings": report.tuning.settings.to_dict(),
        "seen": report.cross_validation is None,
    }
    if report.cross_validation is not None:
        content["cross_validation"] = cross_validation_json(report.cross_validation)
    if report.measured is not None:
        reliability = report.measured.reliability
        content["effects"] = [asdict(effect) | {"verdict": effect.verdict} for effect in report.measured.effects]
        content["ceilings"] = [asdict(ceiling) for ceiling in report.measured.ceilings]
        content["reliability"] = {
            "cells": reliability.cells,
            "calibration_error": reliability.curve.error,
            "rank_correlation": reliability.correlation,
            "bins": [asdict(row) for row in reliability.curve.rows],
        }
    return content


def cross_validation_json(found: CrossValidation, per_image: bool = True) -> dict[str, Any]:
    """A cross-validation as plain values; ``per_image`` with the score of each image."""
    rows = {}
    for row in found.table():
        rows[row.name] = {name: value for name, value in asdict(row).items() if name != "name"}
        if per_image:
            rows[row.name]["per_image"] = list(found.rows[row.name])
    content: dict[str, Any] = {"parts": len(found.cases), "best_members": list(found.best_members), "rows": rows}
    return content | ({"part": list(found.part), "groups": list(found.groups)} if per_image else {})


def report_markdown(report: TuningReport) -> str:
    """The report as Markdown."""
    lines = ["# Tuning", "", f"{report.images} images of {report.groups} groups, split `{report.split}`.", ""]
    lines += _score_lines(report) + _setting_lines(report.tuning.settings)
    if report.measured is not None:
        lines += _effect_lines(report) + _ceiling_lines(report) + _reliability_lines(report.measured.reliability)
    return "\n".join(lines)


def _score_lines(report: TuningReport) -> list[str]:
    lines = ["## Scores", "", "Competition mAP. *Tuned* is on the images that were tuned on, and too good."]
    unseen: dict[str, UnseenRow] = {}
    if report.cross_validation is not None:
        unseen = {row.name: row for row in report.cross_validation.table()}
        parts = len(report.cross_validation.cases)
        lines[-1] += (
            f" *Unseen*: each image with settings that were tuned on the other {parts - 1} of {parts} parts, whole "
            "groups at a time; 95% intervals by a bootstrap over groups, differences paired by image."
        )
    header = ["", "before", "tuned", *(["unseen", "ensemble minus this"] if unseen else [])]
    scores = report.tuning.scores()
    rows = []
    for name in unseen or scores:
        tuned = scores.get(name, {})
        cells = [name, *("" if key not in tuned else f"{tuned[key]:.3f}" for key in ("before", "after"))]
        if row := unseen.get(name):
            gain = "" if row.difference is None else _with_interval(row.difference, row.difference_interval, "+.3f")
            cells += [_with_interval(row.map, row.interval, ".3f"), gain]
        rows.append(cells)
    lines += ["", *_table(header, rows), ""]
    if report.cross_validation is not None:
        chosen = ", ".join(name or "none" for name in report.cross_validation.best_members)
        lines += [f"The best single member of each part, by the other parts: {chosen}.", ""]
    return lines


def _setting_lines(settings: EnsembleSettings) -> list[str]:
    names = ("exponent", "mask_threshold", "score_threshold", "nms_iou", "min_area")
    header = ["", *(f"weight of {name}" for name in settings.members), *names]
    rows = []
    for kind, part in {"general": settings.general, **settings.types}.items():
        weights = part.normalized()
        numbers = [*(weights[name] for name in settings.members), *(getattr(part, name) for name in names)]
        rows.append([kind, *(f"{number:.3g}" for number in numbers)])
    lines = ["## Settings", "", *_table(header, rows), ""]
    if settings.margin is not None:
        lines += [f"Windows are larger than their boxes by {settings.margin:g} on each side.", ""]
    if settings.calibration:
        rows = [[name, f"{one.slope:.2f}", f"{one.intercept:+.2f}"] for name, one in settings.calibration.items()]
        lines += ["Calibration of the confidences:", "", *_table(["", "slope", "intercept"], rows), ""]
    return lines


def _where(report: TuningReport) -> str:
    if report.cross_validation is None:
        return "Measured on the images that were tuned on: what the tuning fitted by chance looks like a gain."
    return "Measured on images that the tuning did not see."


def _effect_lines(report: TuningReport) -> list[str]:
    lines = ["## Effects", "", _where(report)]
    lines += [
        "One thing is changed at a time, nothing is tuned anew. *Gain* is the mAP of the ensemble as tuned minus that",
        "of the changed one. What is left out pays if the interval lies above zero and does not if it lies below; in",
        "between it is open. Without a member or rescoring, with other boxes or another vote, a score means something",
        "else: there, thresholds are moved so that as many masks of each type pass them as before.",
        "",
    ]
    titles = {
        MEMBER: "without the member",
        STAGE: "without the stage",
        FUSION: "other boxes or windows",
        SCHEME: "another vote",
    }
    for kind, title in titles.items():
        rows = [
            [
                effect.name,
                "" if effect.map is None else f"{effect.map:.3f}",
                "" if effect.gain is None else _with_interval(effect.gain, effect.interval, "+.3f"),
                effect.verdict,
            ]
            for effect in report.measured.effects
            if effect.kind == kind
        ]
        if rows:
            lines += [*_table([title, "mAP", "gain", ""], rows), ""]
    return lines


def _ceiling_lines(report: TuningReport) -> list[str]:
    rows = [
        [
            f"{ceiling.name}: {CEILINGS[ceiling.name]}",
            f"{ceiling.map:.3f}",
            _with_interval(ceiling.loss, ceiling.interval, "+.3f"),
        ]
        for ceiling in report.measured.ceilings
    ]
    lines = ["## Ceilings", "", f"What one perfect stage would be worth, all others as tuned. {_where(report)}", ""]
    return [*lines, *_table(["", "mAP", "more than the ensemble"], rows), ""]


def _reliability_lines(reliability: Reliability) -> list[str]:
    correlation = "not defined" if reliability.correlation is None else f"{reliability.correlation:.2f}"
    return [
        "## Certainty",
        "",
        f"1 - uncertainty of {reliability.cells} cells against their IoU with the best true cell: rank correlation "
        f"{correlation}, mean distance of the two {reliability.curve.error:.3f} (`reliability.png`).",
        "",
    ]


def _with_interval(value: float, interval: Interval | None, form: str) -> str:
    text = format(value, form)
    return text if interval is None else f"{text} [{format(interval[0], form)}, {format(interval[1], form)}]"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)]


def _plot_history(history: Mapping[str, Sequence[float]], out: Path) -> None:
    """Best candidate so far of each search."""
    figure = Figure(figsize=(6.4, 3.8), dpi=110, layout="constrained")
    axes = figure.subplots()
    for index, (label, values) in enumerate(history.items()):
        best = np.maximum.accumulate(np.asarray(values, dtype=np.float64))
        shown = np.where(np.isfinite(best), best, np.nan)
        axes.plot(np.arange(1, len(best) + 1), shown, color=COLORS[index % len(COLORS)], linewidth=1.4, label=label)
    axes.set_xlabel("candidates")
    axes.set_ylabel("best mAP so far, less the penalty")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=7, frameon=False)
    FigureCanvasAgg(figure)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
