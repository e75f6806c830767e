"""Segment images with an ensemble: submission, label images, overlays, tables of cells."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cellseg.cli import (
    EXIT_DONE,
    EXIT_PARTIAL,
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
        "Segment images with an ensemble. A config is Python and gets executed: open only configs that you trust.\n\n"
        "A run that was stopped continues where it was when the same command is given again. A bad image is skipped\n"
        "and listed in skipped.csv; the exit code is 1 then.",
        "python tools/ensemble_infer.py configs/ensemble/small.py data/demo:test --out out/demo "
        "--weights weights.json --formats submission labels overlay",
    )
    parser.add_argument("config", help="ensemble config, for example configs/ensemble/small.py")
    parser.add_argument(
        "input",
        help="an image, a folder, a glob (in quotes), a text file with one path a line, or DATA_FOLDER:SPLIT "
        "(for example data/demo:test; the fold is the config's)",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--weights", metavar="FILE", help="weights.json of tools/tune_ensemble.py (default: the settings of the config)"
    )
    parser.add_argument(
        "--formats",
        nargs="+",
        default=["submission"],
        metavar="FORMAT",
        help="submission (submission.csv), labels (label images), overlay (pictures), cells (measurements); "
        "default: submission",
    )
    add_members(parser)
    add_device(parser)
    add_unsafe_load(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace the results that DIR holds")
    add_cfg_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Segment and say what came out."""
    # torch and the networks take seconds to import: --help and a mistyped option should not wait for them.
    from cellseg.ensemble.config import load_ensemble_config
    from cellseg.ensemble.infer import infer_folder
    from cellseg.training.config import parse_options

    config = load_ensemble_config(options.config, parse_options(options.cfg_options))
    report = infer_folder(
        config.with_unsafe_load() if options.unsafe_load else config,
        options.input,
        options.out,
        weights=options.weights,
        formats=options.formats,
        members=options.members,
        device=options.device,
        overwrite=options.overwrite,
    )
    known = f" ({report.reused} were there already)" if report.reused else ""
    print(f"{options.out}: {report.instances} instances in {report.images} images{known}")
    if not report.skipped:
        return EXIT_DONE
    print(f"{len(report.skipped)} images were skipped, see {options.out}/skipped.csv", file=sys.stderr)
    return EXIT_PARTIAL


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
