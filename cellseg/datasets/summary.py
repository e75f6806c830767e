"""The summary of a data folder as a short text for the screen."""

from collections.abc import Sequence
from typing import Any

from cellseg.datasets.prepare import LISTED_PROBLEMS
from cellseg.datasets.records import Problem


def format_summary(summary: dict[str, Any]) -> str:
    """Tables of the classes and folds, then what was mended, lost and left out.

    Args:
        summary: what ``prepare`` returned.
    """
    images, cells = summary["images"], summary["instances"]
    head = f"{summary['name']}: {images} images, {cells} cells, scale {summary['scale']:g}"
    lines = [head, "", *_class_table(summary), "", *_fold_table(summary), "", *_remarks(summary)]
    return "\n".join(lines)


def _class_table(summary: dict[str, Any]) -> list[str]:
    rows = [("class", "images", "cells", "a image, mean", "largest", "area px, mean", "median")]
    for name, values in summary["per_class"].items():
        keys = ("images", "instances", "per_image_mean", "per_image_max", "area_mean", "area_median")
        rows.append((name, *(f"{values[key]:g}" if isinstance(values[key], float) else values[key] for key in keys)))
    return _align(rows)


def _fold_table(summary: dict[str, Any]) -> list[str]:
    rows = [("fold", "train", "val", "test")]
    for fold, counts in enumerate(summary["splits"]):
        rows.append((fold, counts["train"], counts["val"], counts["test"] or "-"))
    by = "each image is its own" if summary["group_column"] == "image" else f"by {summary['group_column']}"
    return [f"images of each split; {summary['groups']} groups, {by}", *_align(rows)]


def _remarks(summary: dict[str, Any]) -> list[str]:
    defects, mended = summary["defects"], summary["repair"]
    lines = [f"masks with holes: {defects['with_holes']}, in several parts: {defects['in_parts']}"]
    if summary["options"]["repair"] != "none":
        lines.append(
            f"repaired ({summary['options']['repair']}): {mended['filled']} filled, {mended['bridged']} bridged, "
            f"{mended['reduced']} reduced to the largest part; "
            f"{mended['pixels_added']} pixels added, {mended['pixels_removed']} removed"
        )
    if defects["vanished"]:
        lines.append(f"vanished at this scale: {defects['vanished']} masks")
    if summary["dropped"]:
        lines.append(f"known bad images dropped: {', '.join(summary['dropped'])}")
    if summary["skipped"]:
        lines.append(f"skipped, as listed in dataset.json: {len(summary['skipped'])}")
        lines += [f"  {Problem(**problem)}" for problem in summary["skipped"][:LISTED_PROBLEMS]]
        if len(summary["skipped"]) > LISTED_PROBLEMS:
            lines.append(f"  and {len(summary['skipped']) - LISTED_PROBLEMS} more")
    return lines


def _align(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Columns as wide as their longest entry; the first to the left, numbers to the right."""
    texts = [[str(value) for value in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    lines = []
    for first, *others in texts:
        numbers = [value.rjust(width) for value, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *numbers]))
    return lines
