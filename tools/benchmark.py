#!/usr/bin/env python
"""Measure how much faster and smaller cellseg is than the usual way of doing the same."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cellseg.benchmarks.rows import format_rows, measure_rows  # noqa: E402
from cellseg.benchmarks.subjects import SUBJECTS, Scale, find_subjects  # noqa: E402
from cellseg.cli import make_parser, run_command  # noqa: E402
from cellseg.errors import InputError  # noqa: E402
from cellseg.io.files import write_json  # noqa: E402

DESCRIPTION = """Measure how many times faster and smaller cellseg is than the usual way of doing the same.

Both sides get the same random cells and must compute the same; a difference is an error. Times are medians of the
processor time of one thread, both sides by turns; memory is the peak of a process of its own, on top of what it
holds before. `pipeline` and `scaling` compare different work: what the ensemble costs beside its members, and many
cells in one image beside few in many. `tuning` takes about ten minutes, the others two. See docs/benchmarks.md."""

EXAMPLE = "python tools/benchmark.py voting rle --json out/benchmarks.json"


def build_parser() -> argparse.ArgumentParser:
    """The command line of this tool."""
    default = Scale()
    parser = make_parser(DESCRIPTION, EXAMPLE)
    parser.add_argument(
        "names", metavar="NAME", nargs="*", help=f"what to measure: {', '.join(SUBJECTS)} (default: all)"
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write a list of rows: name, alternative, time_ratio, memory_ratio and more"
    )
    parser.add_argument(
        "--instances",
        type=int,
        default=default.instances,
        metavar="N",
        help="cells in the image (default: %(default)s)",
    )
    parser.add_argument(
        "--image-size",
        type=int,
        nargs=2,
        default=(default.height, default.width),
        metavar=("HEIGHT", "WIDTH"),
        help=f"in pixels (default: {default.height} {default.width})",
    )
    parser.add_argument(
        "--repeats", type=int, metavar="N", help="how often each side is timed (default: 1 to 15, by how long it takes)"
    )
    return parser


def run(options: argparse.Namespace) -> None:
    """Measure, print the table, write the rows."""
    subjects, scale = find_subjects(options.names), Scale(options.instances, *options.image_size)
    if options.repeats is not None and options.repeats < 1:
        raise InputError(f"--repeats {options.repeats} should be 1 or more")
    rows = measure_rows(subjects, scale, options.repeats)
    if options.json:
        write_json(options.json, [row.to_dict() for row in rows])
    print(format_rows(rows, scale), end="")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(build_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
