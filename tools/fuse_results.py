#!/usr/bin/env python
"""Fuse the results of several programs: the same cell in several results becomes one."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cellseg.cli import EXIT_DONE, make_parser, run_command
from cellseg.errors import InputError

if TYPE_CHECKING:
    from cellseg.ensemble.matching.foreign_run import FusedResults, FusionJob
    from cellseg.ensemble.matching.match import MatchOptions

DESCRIPTION = """Fuse the results of several programs, each a submission (CSV id,predicted) or a folder of label images
(0 is background; 8, 16 or 32 bit). Cells whose masks overlap enough are the same; the rule says how many programs must
have found a cell, and their masks are averaged.

The images are those of --images, --sizes or --truth. A program's own scores are not known: every cell counts 1, so the
score of a fused cell is the part of the programs' weight that found it."""

EXAMPLE = (
    "python tools/fuse_results.py cellpose=out/cellpose ours=out/mine/submission.csv --images data/demo/images "
    "--out out/fused --rule majority --weights cellpose=2 ours=1 --formats submission labels"
)

# Options of matching that --tune finds, and those that it leaves as they are.
TUNED = ("rule", "iou_threshold", "mask_threshold", "score_threshold")
FIXED = ("nms_iou", "min_area")


def build_parser() -> argparse.ArgumentParser:
    """The command line of this tool."""
    parser = make_parser(DESCRIPTION, EXAMPLE)
    parser.add_argument(
        "sources", nargs="+", metavar="NAME=PATH", help="a name for each program, and its submission or label folder"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    images = parser.add_mutually_exclusive_group()
    images.add_argument("--images", metavar="INPUT", help="the images: a folder, a glob, or a text file of paths")
    images.add_argument("--sizes", metavar="TRUTH.csv", help="a table id,annotation,width,height instead of images")
    parser.add_argument(
        "--rule",
        choices=("any", "majority", "all"),
        help="cells stay that any program found, more than half of the programs' weight (default), or all",
    )
    parser.add_argument("--iou-threshold", type=float, help="masks with a larger IoU are one cell (default: 0.5)")
    parser.add_argument("--mask-threshold", type=float, help="part of the weight that a pixel needs (default: 0.5)")
    parser.add_argument("--score-threshold", type=float, help="least score of a cell (default: 0)")
    parser.add_argument("--nms-iou", type=float, help="largest IoU of two fused masks (default: 0.3)")
    parser.add_argument("--min-area", type=int, metavar="PX", help="least area of a cell (default: 0)")
    parser.add_argument("--weights", nargs="+", default=[], metavar="NAME=NUMBER", help="weights (default: 1 each)")
    parser.add_argument(
        "--label-suffix", nargs="+", default=[], metavar="NAME=TEXT", help="what follows the id in label file names"
    )
    parser.add_argument(
        "--missing",
        choices=("error", "empty"),
        default="error",
        help="an image that a program has nothing about stops the command, or has no cells (default: error)",
    )
    parser.add_argument(
        "--formats",
        nargs="+",
        default=["submission"],
        choices=("submission", "labels"),
        help="what to write besides instances.csv and run.json (default: submission)",
    )
    parser.add_argument("--truth", metavar="TRUTH.csv", help="score the programs and the fused result on this table")
    parser.add_argument("--tune", action="store_true", help="find rule and thresholds on the images of --truth")
    parser.add_argument("--seed", type=int, help="of --tune (default: 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace the results that DIR holds")
    return parser


def run(options: argparse.Namespace) -> int:
    """Fuse and say what came out."""
    # torch takes seconds to import: --help and a mistyped option should not wait for it.
    from cellseg.ensemble.matching.foreign_run import files_to_replace, fuse_results, write_results

    job = make_job(options)
    replaced = files_to_replace(options.out, options.overwrite)
    fused = fuse_results(job)
    write_results(options.out, fused, options.formats, replaced)
    report(options, fused)
    return EXIT_DONE


def make_job(options: argparse.Namespace) -> "FusionJob":
    """The job that the options describe."""
    from cellseg.ensemble.matching.foreign import Source, sizes_of_images, sizes_of_table
    from cellseg.ensemble.matching.foreign_run import FusionJob

    paths = read_pairs(options.sources, "NAME=PATH")
    suffixes = read_pairs(options.label_suffix, "--label-suffix")
    unknown = [name for name in suffixes if name not in paths]
    if unknown:
        raise InputError(f"--label-suffix: no program {unknown[0]!r}; there are {', '.join(paths)}")
    matching = make_options(options, paths)
    if options.images:
        sizes = sizes_of_images(options.images)
    elif options.sizes or options.truth:
        sizes = sizes_of_table(options.sizes or options.truth)
    else:
        raise InputError("give the images with --images, or a table with their sizes with --sizes or --truth")
    return FusionJob(
        sources=[Source(name, Path(path), suffixes.get(name, "")) for name, path in paths.items()],
        sizes=sizes,
        options=matching,
        missing=options.missing,
        truth=Path(options.truth) if options.truth else None,
        tune=options.tune,
        seed=options.seed or 0,
    )


def make_options(options: argparse.Namespace, names: Sequence[str]) -> "MatchOptions":
    """Options of matching from the command line; those that do nothing are refused."""
    from cellseg.ensemble.matching.match import MatchOptions, weights_of

    given = {name: getattr(options, name) for name in (*TUNED, *FIXED) if getattr(options, name) is not None}
    if options.tune:
        if not options.truth:
            raise InputError("--tune needs --truth, a table with true cells")
        found = [name for name in TUNED if name in given]
        if found:
            raise InputError(f"--{found[0].replace('_', '-')} does nothing with --tune, which finds it")
    elif options.seed is not None:
        raise InputError("--seed does nothing without --tune")
    weights = {name: read_number(value, name) for name, value in read_pairs(options.weights, "--weights").items()}
    matching = MatchOptions(**given, weights=weights or None)
    weights_of(tuple(names), matching)
    return matching


def read_pairs(texts: Sequence[str], place: str) -> dict[str, str]:
    """``NAME=VALUE`` texts as a dict."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name.strip() or not value:
            raise InputError(f"{place}: expected NAME=VALUE, found {text!r}")
        if name in pairs:
            raise InputError(f"{place}: the name {name!r} comes twice")
        pairs[name] = value
    return pairs


def read_number(text: str, name: str) -> float:
    """A weight."""
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--weights {name}: expected a number, found {text!r}") from None


def report(options: argparse.Namespace, fused: "FusedResults") -> None:
    """Print what was done."""
    for name, result in fused.results.items():
        if result.missing:
            print(f"{name}: nothing about {len(result.missing)} images, taken as without cells", file=sys.stderr)
        if result.passed_over:
            print(f"{name}: {result.passed_over} label images of other images were passed over", file=sys.stderr)
    if options.tune:
        chosen = fused.options.to_dict()
        print(f"tuned on {options.truth}: " + ", ".join(f"{name} {chosen[name]}" for name in TUNED))
    if fused.scores:
        note = "; too good for other images" if options.tune else ""
        print(f"competition mAP on {fused.scored} images of {options.truth}{note}:")
        width = max(map(len, fused.scores))
        for name, score in fused.scores.items():
            print(f"  {name:<{width}}  {score:.4f}")
    count = sum(len(found) for found in fused.found.values())
    print(f"{options.out}: {count} cells in {len(fused.found)} images")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
