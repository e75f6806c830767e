#!/usr/bin/env python
"""Score a submission against the truth: competition mAP, F1, PQ, IoU, recall by size, kinds of errors."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tqdm import tqdm  # noqa: E402

from cellseg import __version__  # noqa: E402
from cellseg.cli import make_parser, run_command  # noqa: E402
from cellseg.io.files import file_hash, write_json, write_text  # noqa: E402
from cellseg.io.submission import read_predictions, read_truth  # noqa: E402
from cellseg.metrics.evaluation import evaluate_image, summarize, summarize_types  # noqa: E402
from cellseg.metrics.report import format_report, image_table, report_values  # noqa: E402
from cellseg.metrics.size_recall import DEFAULT_EDGES, check_edges  # noqa: E402

DESCRIPTION = """Score a submission against the truth and print a report.

The competition's mAP is the mean over images of the mean precision TP / (TP + FP + FN) at IoU above 0.50, 0.55 ...
0.95. Like the competition, this refuses predictions that overlap, and every image of the truth needs a row. The truth
may overlap."""

EXAMPLE = "python tools/evaluate.py out/submission.csv data/demo/splits/fold0/test.csv --json out/scores.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = make_parser(DESCRIPTION, EXAMPLE)
    parser.add_argument("predictions", metavar="PREDICTIONS.csv", help="table id,predicted: one row per predicted cell")
    parser.add_argument("truth", metavar="TRUTH.csv", help="table id,annotation,width,height[,cell_type]")
    parser.add_argument("--json", metavar="FILE", help="write all numbers: map, per_type, ap, images and more")
    parser.add_argument("--per-image", metavar="FILE.csv", help="write a table with one row per image")
    parser.add_argument(
        "--size-edges",
        metavar="PX",
        type=int,
        nargs="+",
        default=list(DEFAULT_EDGES),
        help="areas in pixels that divide cells by size (default: %(default)s)",
    )
    return run_command(parser, evaluate, arguments)


def evaluate(options: argparse.Namespace) -> int:
    """Read both tables, measure every image, print and write the results."""
    check_edges(options.size_edges)
    truth = read_truth(options.truth)
    predictions = read_predictions(options.predictions, {key: image.masks.image_size for key, image in truth.items()})
    results = []
    for key, image in tqdm(truth.items(), desc="scoring", unit="image", disable=None):
        results.append(evaluate_image(key, predictions[key].masks, image.masks, image.cell_type))
    overall = summarize(results, options.size_edges)
    types = summarize_types(results, options.size_edges)
    if options.json:
        provenance = {
            "cellseg": __version__,
            "predictions_sha256": file_hash(options.predictions),
            "truth_sha256": file_hash(options.truth),
        }
        write_json(options.json, {**report_values(overall, types, results), "provenance": provenance})
    if options.per_image:
        write_text(options.per_image, image_table(results))
    print(format_report(overall, types, results), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
