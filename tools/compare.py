"""Score a tuned ensemble and each of its members alone on held-out images, with paired intervals."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cellseg.cli import add_cache, add_cfg_options, add_device, add_unsafe_load, make_parser, run_command


def build_parser() -> argparse.ArgumentParser:
    """The command line of this tool."""
    parser = make_parser(
        "Score a tuned ensemble on images that the tuning did not see, beside each member alone with what was tuned\n"
        "for it alone, the variants in the weights file, and the matched instances of the members alone. The table\n"
        "gives the paired difference to the ensemble with its 95% interval (images of one group are drawn together).",
        "python tools/compare.py configs/ensemble/small.py --weights work_dirs/weights.json --out out/comparison",
    )
    parser.add_argument("config", help="ensemble config (it is Python and gets executed)")
    parser.add_argument("--weights", required=True, metavar="FILE", help="weights.json of tools/tune_ensemble.py")
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="folder for comparison.md, .json and .png, reliability.png and examples.png",
    )
    parser.add_argument("--split", default="test", choices=("train", "val", "test"), help="images to score")
    parser.add_argument(
        "--votes",
        nargs="+",
        metavar="SCHEME",
        default=[],
        help="a row for each of these ways to vote, with the ensemble's settings otherwise: mean, median, majority, "
        "log_odds, staple",
    )
    add_device(parser)
    add_cache(parser, None)
    add_unsafe_load(parser)
    add_cfg_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Compare, print the table, write the files."""
    from cellseg.ensemble.comparison.compare import compare_members
    from cellseg.ensemble.comparison.report import comparison_json, comparison_text, plot_comparison
    from cellseg.ensemble.config import load_ensemble_config
    from cellseg.ensemble.evidence.cache import EvidenceCache
    from cellseg.io.files import write_json, write_text
    from cellseg.io.results import write_picture
    from cellseg.training.config import parse_options

    config = load_ensemble_config(options.config, parse_options(options.cfg_options))
    comparison = compare_members(
        config.with_unsafe_load() if options.unsafe_load else config,
        options.weights,
        options.split,
        EvidenceCache(options.cache) if options.cache else None,
        options.votes,
        options.device,
    )
    text = comparison_text(comparison)
    print(text)
    out = Path(options.out)
    write_text(out / "comparison.md", text + "\n")
    write_json(out / "comparison.json", comparison_json(comparison))
    write_picture(out / "examples.png", comparison.sheet)
    plot_comparison(comparison, out)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
