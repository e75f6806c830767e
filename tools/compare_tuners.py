"""Compare the tuners of ensemble weights: what each finds with the same budget, on images that it did not see."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cellseg.cli import (
    add_cache,
    add_cfg_options,
    add_device,
    add_members,
    add_unsafe_load,
    make_parser,
    run_command,
)


def build_parser() -> argparse.ArgumentParser:
    """The command line of this tool."""
    parser = make_parser(
        "Tune an ensemble with every tuner and several seeds, each with the same budget, and score what they found on\n"
        "another split. A config is Python and gets executed: open only configs that you trust.\n\n"
        "Scores on the images that were tuned on say how well a tuner searches; those on images that it did not see\n"
        "say what that is worth.",
        "python tools/compare_tuners.py configs/ensemble/small.py --out out/tuners --budget 200 --seeds 5",
    )
    parser.add_argument("config", help="ensemble config, for example configs/ensemble/small.py")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for tuners.md and tuners.json")
    parser.add_argument("--tuners", nargs="+", default=[], metavar="NAME", help="only these (default: all)")
    parser.add_argument("--budget", type=int, default=200, help="candidates of each search (default: 200)")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="runs of each tuner (default: 5)")
    parser.add_argument("--split", default="val", choices=("train", "val", "test"), help="images to tune on")
    parser.add_argument("--unseen", default="test", choices=("train", "val", "test"), help="images to score")
    parser.add_argument(
        "--images", type=int, default=0, metavar="N", help="only N images of each split, spread over it (default: all)"
    )
    add_members(parser)
    add_device(parser)
    add_unsafe_load(parser)
    add_cache(parser)
    add_cfg_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Compare, print the table, write the files."""
    # torch and the networks take seconds to import: --help and a mistyped option should not wait for them.
    from cellseg.ensemble.config import load_ensemble_config
    from cellseg.ensemble.tuning.tuner_study import StudyOptions, study_tuners
    from cellseg.io.files import write_json, write_text
    from cellseg.training.config import parse_options

    study_options = StudyOptions(
        tuple(options.tuners), options.seeds, options.budget, options.split, options.unseen, options.images
    )
    config = load_ensemble_config(options.config, parse_options(options.cfg_options))
    if options.unsafe_load:
        config = config.with_unsafe_load()
    study = study_tuners(config, study_options, options.members, options.device, options.cache)
    table = study.table()
    print(table)
    write_text(Path(options.out) / "tuners.md", table + "\n")
    write_json(Path(options.out) / "tuners.json", study.to_dict())
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
