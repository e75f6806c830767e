"""Tune the weights and thresholds of an ensemble on validation images and write weights.json."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cellseg.cli import add_unsafe_load, make_parser, run_command


def build_parser() -> argparse.ArgumentParser:
    """The command line of this tool."""
    parser = make_parser(
        "Tune an ensemble for the best competition mAP on validation images. A config is Python and gets executed:\n"
        "open only configs that you trust.\n\n"
        "First each member alone is tuned, then the ensemble, with equal weights and each member alone among the\n"
        "candidates, then the cell types that have enough images. The scores printed are those on the images that\n"
        "were tuned on; images that the tuning did not see score lower.",
        "python tools/tune_ensemble.py configs/ensemble/small.py --out out/weights.json --budget 200",
    )
    parser.add_argument("config", help="ensemble config, for example configs/ensemble/small.py")
    parser.add_argument("--out", required=True, metavar="FILE", help="the weights file to write")
    parser.add_argument("--tuner", metavar="NAME", help="uniform, random or differential_evolution (the default)")
    parser.add_argument(
        "--budget", type=int, default=200, help="candidates to score for the ensemble; half of it for each member alone"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all random numbers (default: 0)")
    parser.add_argument("--split", default="val", choices=("train", "val", "test", "all"), help="images to tune on")
    parser.add_argument("--members", nargs="+", metavar="NAME", help="let only these members vote (default: all)")
    parser.add_argument("--device", help="cpu, cuda or cuda:N for all members (default: as in the config)")
    add_unsafe_load(parser)
    parser.add_argument(
        "--cache",
        metavar="DIR",
        default="work_dirs/evidence",
        help="folder where the answers of the members are kept for the next tuning (default: work_dirs/evidence)",
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        metavar="KEY=VALUE",
        default=[],
        help="settings over those of the config, dotted keys",
    )
    return parser


def run(options: argparse.Namespace) -> int:
    """Tune and print the scores."""
    # torch and the networks take seconds to import: --help and a mistyped option should not wait for them.
    from cellseg.ensemble.config import load_ensemble_config
    from cellseg.ensemble.tuning import tune_ensemble
    from cellseg.training.config import parse_options

    config = load_ensemble_config(options.config, parse_options(options.cfg_options))
    report = tune_ensemble(
        config.with_unsafe_load() if options.unsafe_load else config,
        options.out,
        tuner=options.tuner,
        budget=options.budget,
        seed=options.seed,
        split=options.split,
        members=options.members,
        device=options.device,
        cache=options.cache,
    )
    print(f"competition mAP on the {report.images} images of split {options.split!r}, which were tuned on:")
    print(f"{'':<24}{'before':>8}{'tuned':>8}")
    for name, row in {**report.alone, "ensemble": report.ensemble}.items():
        print(f"{name:<24}{row.before:>8.4f}{row.after:>8.4f}")
    weights = report.ensemble.settings.general.normalized()
    print("weights: " + ", ".join(f"{name} {weight:.3f}" for name, weight in weights.items()))
    print(f"cell types with settings of their own: {', '.join(report.types) or 'none'}")
    print(f"written: {options.out}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
