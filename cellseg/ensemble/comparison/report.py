"""A comparison as text for people, as plain values and as plots."""

from pathlib import Path
from typing import Any

from cellseg.ensemble.comparison.compare import Comparison, Row
from cellseg.ensemble.comparison.uncertainty import UncertaintyCheck
from cellseg.visualization.plots import ScoreRow, plot_reliability, plot_scores


def comparison_text(comparison: Comparison) -> str:
    """The table of the rows and, where the ensemble's cells have an uncertainty, how far it can be relied on."""
    text = comparison_table(comparison)
    if comparison.uncertainty is not None:
        text += f"\n\n{uncertainty_text(comparison.uncertainty)}"
    return text


def comparison_table(comparison: Comparison) -> str:
    """The rows as a Markdown table."""
    types = list(comparison.ensemble.per_type)
    header = ["", "mAP", "AP50", "AP75", *types, "IoU of matched cells", "ensemble minus this [95% interval]"]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in comparison.rows:
        gain = "" if row.difference is None else f"{row.difference:+.3f}"
        if row.interval is not None:
            gain += f" [{row.interval[0]:+.3f}, {row.interval[1]:+.3f}]"
        values = [row.name, f"{row.map:.3f}", f"{row.ap50:.3f}", f"{row.ap75:.3f}"]
        values += [f"{row.per_type[kind]:.3f}" for kind in types]
        values += ["-" if row.mean_matched_iou is None else f"{row.mean_matched_iou:.3f}", gain]
        lines.append("| " + " | ".join(values) + " |")
    return "\n".join(lines)


def uncertainty_text(check: UncertaintyCheck) -> str:
    """The reliability of the ensemble's uncertainty as Markdown."""
    rank = "not defined" if check.spearman is None else f"{check.spearman:.3f}"
    lines = [
        f"Uncertainty of the ensemble's {check.cells} cells: rank correlation of 1 - uncertainty with the IoU to the "
        f"best true cell {rank}, calibration error {check.curve.error:.3f}.",
        "",
        "| 1 - uncertainty | cells | mean | mean IoU |",
        "|---|---|---|---|",
    ]
    for row in check.curve.rows:
        if row.count:
            span = f"{row.lower:.1f} to {row.upper:.1f}"
            lines.append(f"| {span} | {row.count} | {row.mean_predicted:.3f} | {row.mean_actual:.3f} |")
    return "\n".join(lines)


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain values; ``comparison_file.read_comparison`` reads them."""
    check = comparison.uncertainty
    return {
        "split": comparison.split,
        "images": list(comparison.images),
        "groups": list(comparison.groups),
        "cell_types": list(comparison.cell_types),
        "rows": [_plain_row(row) for row in comparison.rows],
        "uncertainty": None
        if check is None
        else {
            "cells": check.cells,
            "spearman": check.spearman,
            "calibration_error": check.curve.error,
            "reliability": [dict(vars(row)) for row in check.curve.rows],
        },
        "provenance": dict(comparison.provenance),
    }


def _plain_row(row: Row) -> dict[str, Any]:
    return {
        **vars(row),
        "per_type": dict(row.per_type),
        "errors": {side: dict(counts) for side, counts in row.errors.items()},
        "per_image": list(row.per_image),
        "per_image_ap50": list(row.per_image_ap50),
        "per_image_ap75": list(row.per_image_ap75),
        "interval": None if row.interval is None else list(row.interval),
    }


def plot_comparison(comparison: Comparison, folder: str | Path) -> None:
    """Write ``comparison.png``, the scores, and ``reliability.png`` where the ensemble's cells have an uncertainty."""
    rows = [ScoreRow(name=row.name, value=row.map, points=row.per_image) for row in comparison.rows]
    title = f"{len(comparison.images)} images of the {comparison.split} split"
    plot_scores(rows, Path(folder) / "comparison.png", title)
    if comparison.uncertainty is not None and comparison.uncertainty.cells:
        plot_reliability(comparison.uncertainty.curve, Path(folder) / "reliability.png", title)
