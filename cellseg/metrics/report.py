"""The results of an evaluation as text for people, as JSON and as a table of images."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from cellseg.metrics.evaluation import ImageResult, Summary, name_thresholds
from cellseg.metrics.size_recall import SizeBin

# A folder of hundreds of images would push the summary off the screen; the table file has all of them.
PRINTED_IMAGES = 20

IMAGE_COLUMNS = (
    "id,cell_type,map,ap50,f1,pq,mean_matched_iou,mean_best_iou,cells,predictions,matched,"
    "missed,split_cells,merged_cells,bad_outline_cells,invented,split_predictions,merged_predictions,bad_outline_predictions"
)

ERROR_LEGEND = """\
  split: two or more predictions lie mostly inside one cell; merged: one prediction covers most of two or more cells;
  bad outline: IoU above 0.1 with a partner that has no match either; missed, invented: none of these."""


def format_report(overall: Summary, types: dict[str, Summary], results: Sequence[ImageResult]) -> str:
    """The whole report: scores, thresholds, sizes, errors and the images that score lowest.

    Args:
        overall: summary of all images.
        types: summary of each known cell type; may be empty.
        results: every image.
    """
    named = {"all images": overall, **types}
    parts = [
        _score_table(named),
        _threshold_table(named),
        _size_table(overall),
        _error_table(named),
        _image_table(results),
    ]
    return "\n\n".join(parts) + "\n"


def report_values(overall: Summary, types: dict[str, Summary], results: Sequence[ImageResult]) -> dict[str, Any]:
    """The report for JSON.

    Returns:
        The values of ``overall`` (``map``, ``ap`` by threshold, ...), ``per_type`` (competition mAP of each type),
        ``types`` (all values of each type) and ``images`` (all values of each image).
    """
    return {
        **overall.to_dict(),
        "per_type": {name: summary.score.map for name, summary in types.items()},
        "types": {name: summary.to_dict() for name, summary in types.items()},
        "images": [result.to_dict() for result in results],
    }


def image_table(results: Sequence[ImageResult]) -> str:
    """One row of CSV per image; what is undefined is left empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(IMAGE_COLUMNS.split(","))
    for result in results:
        errors, quality = result.errors.count(), result.quality
        row = [result.key, result.cell_type, result.score.map, result.score.ap[0.5], quality.f1, quality.pq]
        row += [quality.mean_matched_iou, quality.mean_best_iou]
        row += [quality.cells, quality.predictions, quality.matched]
        row += [*errors["cells"].values(), *errors["predictions"].values()]
        writer.writerow(["" if value is None else value for value in row])
    return text.getvalue()


def _score_table(named: dict[str, Summary]) -> str:
    header = ["", "images", "cells", "predicted", "mAP", "AP50", "F1", "precision", "recall", "PQ"]
    header += ["IoU of matched", "best IoU per cell"]
    rows = []
    for name, summary in named.items():
        quality = summary.quality
        row = [name, str(summary.images), str(quality.cells), str(quality.predictions)]
        row += [_number(value) for value in (summary.score.map, summary.score.ap[0.5], quality.f1)]
        row += [_number(value) for value in (quality.precision, quality.recall, quality.pq)]
        row += [_number(quality.mean_matched_iou), _number(quality.mean_best_iou)]
        rows.append(row)
    title = "Scores (mAP: competition; F1, precision, recall, PQ and matched: IoU > 0.5)"
    return f"{title}\n{_table(header, rows)}"


def _threshold_table(named: dict[str, Summary]) -> str:
    thresholds = list(name_thresholds(next(iter(named.values())).score))
    rows = [[name, *(_number(v) for v in summary.score.ap.values())] for name, summary in named.items()]
    return f"Precision TP / (TP + FP + FN) at each IoU threshold\n{_table(['', *thresholds], rows)}"


def _size_table(summary: Summary) -> str:
    rows = []
    for size in summary.sizes:
        span = _span(size)
        rows.append([span, str(size.cells), str(size.found), _number(size.recall), _number(size.mean_best_iou)])
    header = ["area in px", "cells", "found", "recall", "best IoU per cell"]
    return f"Recall by size of the true cell (found: IoU > 0.5)\n{_table(header, rows)}"


def _error_table(named: dict[str, Summary]) -> str:
    header = ["", "true cells: missed", "split", "merged", "bad outline"]
    header += ["predictions: invented", "split", "merged", "bad outline"]
    rows = []
    for name, summary in named.items():
        counts = [*summary.errors["cells"].values(), *summary.errors["predictions"].values()]
        rows.append([name, *(str(count) for count in counts)])
    return (
        f"Errors (everything without a match at IoU > 0.5, each counted once)\n{_table(header, rows)}\n{ERROR_LEGEND}"
    )


def _image_table(results: Sequence[ImageResult]) -> str:
    ordered = sorted(results, key=lambda result: (result.score.map, result.key))[:PRINTED_IMAGES]
    header = ["id", "type", "mAP", "AP50", "F1", "cells", "predicted", "matched", "missed", "invented"]
    rows = []
    for result in ordered:
        errors, quality = result.errors.count(), result.quality
        row = [result.key, result.cell_type or "-", _number(result.score.map), _number(result.score.ap[0.5])]
        row += [_number(quality.f1), str(quality.cells), str(quality.predictions), str(quality.matched)]
        row += [str(errors["cells"]["missed"]), str(errors["predictions"]["invented"])]
        rows.append(row)
    title = "Images, lowest mAP first"
    if len(ordered) < len(results):
        title += f" ({len(ordered)} of {len(results)}; --per-image FILE.csv writes all)"
    return f"{title}\n{_table(header, rows)}"


def _span(size: SizeBin) -> str:
    if size.high is None:
        return f"{size.low} or more"
    return f"below {size.high}" if size.low == 0 else f"{size.low} to {size.high - 1}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their longest entry, the first one flush left, the others flush right."""
    widths = [max(len(line[column]) for line in (header, *rows)) for column in range(len(header))]
    lines = []
    for line in (header, *rows):
        cells = [line[0].ljust(widths[0])]
        cells += [text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True)]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)
