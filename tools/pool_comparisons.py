"""Pool comparisons of several folds and seeds: means, spread over seeds, paired intervals over groups."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cellseg.cli import make_parser, run_command
from cellseg.errors import InputError


def build_parser() -> argparse.ArgumentParser:
    """The command line of this tool."""
    parser = make_parser(
        "Pool the comparison.json files that tools/compare.py wrote: of folds (different images) and of seeds (the\n"
        "same images). An image's score is the mean over its seeds, a row's the mean over images. Intervals draw\n"
        "groups of images, each with all its images and seeds. The best single member is the one with the best score\n"
        "on the tuning images of each comparison.",
        "python tools/pool_comparisons.py out/seed0/comparison.json out/seed1/comparison.json --out out/pooled",
    )
    parser.add_argument("comparisons", nargs="*", metavar="COMPARISON.json", help="files of tools/compare.py")
    parser.add_argument(
        "--ensembles",
        nargs="+",
        metavar="NAME=COMPARISON.json",
        help="instead: a row for each of several ensembles, and its difference to the last one; a name comes once for "
        "each fold and seed",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for pooled.md, .json and .png")
    return parser


def run(options: argparse.Namespace) -> int:
    """Pool, print the table, write the files."""
    from cellseg.ensemble.comparison.pooling import pool_comparisons, pool_ensembles
    from cellseg.ensemble.comparison.pooling_report import plot_pool, pool_json, pool_table
    from cellseg.io.files import write_json, write_text

    if bool(options.comparisons) == bool(options.ensembles):
        raise InputError("give comparisons of one ensemble, or those of several ones with --ensembles")
    pool = pool_ensembles(_named(options.ensembles)) if options.ensembles else pool_comparisons(options.comparisons)
    table = pool_table(pool)
    print(table)
    out = Path(options.out)
    write_text(out / "pooled.md", table + "\n")
    write_json(out / "pooled.json", pool_json(pool))
    plot_pool(pool, out / "pooled.png")
    return 0


def _named(pairs: list[str]) -> list[tuple[str, str]]:
    """``NAME=FILE`` texts as pairs."""
    named = []
    for pair in pairs:
        name, separator, file = pair.partition("=")
        if not (name and separator and file):
            raise InputError(f"--ensembles {pair}: expected NAME=COMPARISON.json")
        named.append((name, file))
    return named


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
