"""Score a tuned ensemble and each of its members alone on held-out images, with paired intervals."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cellseg.cli import add_unsafe_load, make_parser, run_command


def build_parser() -> argparse.ArgumentParser:
    """The command line of this tool."""
    parser = make_parser(
        "Score a tuned ensemble, and each member alone with what was tuned for it alone, on images that the tuning did "
        "not see. The table gives the paired difference to the ensemble with its 95% interval (images of one group are "
        "drawn together).",
        "python tools/compare.py configs/ensemble/small.py --weights work_dirs/weights.json --out out/comparison",
    )
    parser.add_argument("config", help="ensemble config (it is Python and gets executed)")
    parser.add_argument("--weights", required=True, metavar="FILE", help="weights.json of tools/tune_ensemble.py")
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder for comparison.md, .json and .png, and examples.png"
    )
    add_unsafe_load(parser)
    parser.add_argument("--split", default="test", choices=("train", "val", "test"), help="images to score")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", default=[], help="over the config's settings")
    return parser


def run(options: argparse.Namespace) -> int:
    """Compare, print the table, write the files."""
    from cellseg.ensemble.comparison import compare_members, comparison_json, comparison_table
    from cellseg.ensemble.config import load_ensemble_config
    from cellseg.io.files import write_json, write_text
    from cellseg.io.results import write_picture
    from cellseg.training.config import parse_options
    from cellseg.visualization.plots import ScoreRow, plot_scores

    config = load_ensemble_config(options.config, parse_options(options.cfg_options))
    if options.unsafe_load:
        config = config.with_unsafe_load()
    comparison = compare_members(config, options.weights, options.split)
    table = comparison_table(comparison)
    print(table)
    out = Path(options.out)
    write_text(out / "comparison.md", table + "\n")
    write_json(out / "comparison.json", comparison_json(comparison))
    rows = [ScoreRow(name=row.name, value=row.map, points=row.per_image) for row in comparison.rows]
    write_picture(out / "examples.png", comparison.sheet)
    plot_scores(rows, out / "comparison.png", f"{len(comparison.images)} images of the {options.split} split")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
