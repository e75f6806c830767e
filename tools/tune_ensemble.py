"""Tune the weights and thresholds of an ensemble on validation images and write weights.json."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from cellseg.ensemble.tuning.report import TuningReport


def build_parser() -> argparse.ArgumentParser:
    """The command line of this tool."""
    parser = make_parser(
        "Tune an ensemble for the best competition mAP on validation images. A config is Python and gets executed:\n"
        "open only configs that you trust.\n\n"
        "First each member alone is tuned, then the ensemble, with equal weights and each member alone among the\n"
        "candidates, then the cell types that have enough images. Scores on the images that were tuned on are too\n"
        "good; --cross-validate measures on images that the tuning did not see.",
        "python tools/tune_ensemble.py configs/ensemble/small.py --out out/weights.json --budget 200",
    )
    parser.add_argument("config", help="ensemble config, for example configs/ensemble/small.py")
    parser.add_argument("--out", required=True, metavar="FILE", help="the weights file to write")
    parser.add_argument(
        "--tuner",
        metavar="NAME",
        help="uniform, random, differential_evolution or aquila (default: the one that measures best)",
    )
    parser.add_argument(
        "--budget",
        type=int,
        default=200,
        help="candidates to score for the ensemble; half of it for each member alone (default: 200)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of all random numbers (default: 0)")
    parser.add_argument(
        "--shrinkage",
        type=float,
        metavar="S",
        help="how strongly weights are drawn to equal ones when images are few; 0: not at all (default: as measured)",
    )
    parser.add_argument(
        "--calibrate",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="fit the members' confidences on the tuning images first (default: no, which measured better)",
    )
    parser.add_argument(
        "--margins",
        type=float,
        nargs="+",
        default=(),
        metavar="M",
        help="other margins of the windows to try with the settings that were found: parts of a box by which its "
        "window is larger on each side, as 0.05 0.3 (default: only the config's fusion.margin)",
    )
    parser.add_argument(
        "--cross-validate",
        type=int,
        default=0,
        metavar="K",
        help="tune K times more, each time without one of K parts of the images, and score that part; whole groups "
        "stay together (default: 0, not done)",
    )
    parser.add_argument(
        "--report",
        metavar="DIR",
        help="write a report with the effect of each member and stage, and ceilings, to DIR (default: none)",
    )
    parser.add_argument("--resume", action="store_true", help="go on with a tuning that was stopped (FILE.journal)")
    parser.add_argument("--split", default="val", choices=("train", "val", "test", "all"), help="images to tune on")
    add_members(parser)
    add_device(parser)
    add_unsafe_load(parser)
    add_cache(parser)
    add_cfg_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Tune and print the scores."""
    # torch and the networks take seconds to import: --help and a mistyped option should not wait for them.
    from cellseg.ensemble.config import load_ensemble_config
    from cellseg.ensemble.tuning.pool_tuning import TuningOptions
    from cellseg.ensemble.tuning.search import SHRINKAGE
    from cellseg.ensemble.tuning.tune import tune_ensemble
    from cellseg.training.config import parse_options

    config = load_ensemble_config(options.config, parse_options(options.cfg_options))
    report = tune_ensemble(
        config.with_unsafe_load() if options.unsafe_load else config,
        options.out,
        TuningOptions(
            tuner=options.tuner,
            budget=options.budget,
            seed=options.seed,
            shrinkage=SHRINKAGE if options.shrinkage is None else options.shrinkage,
            calibrate=options.calibrate,
            margins=tuple(options.margins),
        ),
        split=options.split,
        members=options.members,
        device=options.device,
        cache=options.cache,
        cross_validate_parts=options.cross_validate,
        report=options.report,
        resume=options.resume,
    )
    _print_scores(report)
    print(f"written: {options.out}")
    if options.report:
        print(f"report: {options.report}")
    return 0


def _print_scores(report: "TuningReport") -> None:
    print(f"competition mAP on the {report.images} images of split {report.split!r}, which were tuned on:")
    print(f"{'':<24}{'before':>8}{'tuned':>8}")
    for name, row in report.tuning.scores().items():
        before = f"{row['before']:.4f}" if "before" in row else ""
        print(f"{name:<24}{before:>8}{row['after']:>8.4f}")
    weights = report.tuning.settings.general.normalized()
    print("weights: " + ", ".join(f"{name} {weight:.3f}" for name, weight in weights.items()))
    if report.tuning.settings.margin is not None:
        print(f"margin of the windows: {report.tuning.settings.margin:g}")
    print(f"cell types with settings of their own: {', '.join(report.types) or 'none'}")
    if report.cross_validation is None:
        return
    print(f"on images that the tuning did not see ({len(report.cross_validation.cases)} parts):")
    print(f"{'':<24}{'mAP':>8}  ensemble minus this [95%]")
    for row in report.cross_validation.table():
        gain = "" if row.difference is None else f"{row.difference:+.4f}"
        if row.difference_interval is not None:
            gain += " [{:+.4f}, {:+.4f}]".format(*row.difference_interval)
        print(f"{row.name:<24}{row.map:>8.4f}  {gain}".rstrip())


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
