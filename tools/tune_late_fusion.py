"""Tune the weights of a late fusion of classifiers, and compare tuners, models and baselines on held-out samples."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cellseg.cli import add_device, add_unsafe_load, make_parser, run_command


def build_parser() -> argparse.ArgumentParser:
    """The command line of this tool."""
    parser = make_parser(
        "Combine the class probabilities of several trained models with weights that are tuned on one split, and\n"
        "score them on another. The config.py of a work folder is Python and gets executed: open only folders that\n"
        "you trust.\n\nWrites weights.json (of the search that was best on the samples to tune on), late_fusion.md,\n"
        "late_fusion.json, and probabilities/NAME.npz, which can be given instead of the work folder next time.",
        "python tools/tune_late_fusion.py audio=work_dirs/audio face=work_dirs/face --compare early=work_dirs/early "
        "--out out/late_fusion",
    )
    parser.add_argument("models", nargs="+", metavar="[NAME=]PATH", help="work folder, or npz or csv of probabilities")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the results")
    parser.add_argument("--task", default="classification", help="task whose classes are fused (default: %(default)s)")
    parser.add_argument("--by", default="accuracy", help="accuracy, macro_f1 or log_loss (default: %(default)s)")
    parser.add_argument("--mean", default="arithmetic", help="arithmetic or geometric (default: %(default)s)")
    parser.add_argument("--per-class", action="store_true", help="weights of its own for every class")
    parser.add_argument("--tuners", nargs="+", default=[], metavar="NAME", help="only these (default: all)")
    parser.add_argument("--budget", type=int, default=200, help="evaluations of each tuner (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the tuners and baselines (default: %(default)s)")
    parser.add_argument(
        "--shrinkage",
        type=float,
        metavar="S",
        help="how strongly weights are drawn to equal ones when samples are few; 0: not at all (default: as measured)",
    )
    parser.add_argument("--split", default="val", help="samples to tune on (default: %(default)s)")
    parser.add_argument("--unseen", default="test", help="samples to score (default: %(default)s)")
    parser.add_argument(
        "--compare", nargs="+", default=[], metavar="[NAME=]PATH", help="models in the table but not in the fusion"
    )
    parser.add_argument(
        "--baselines", nargs="+", default=[], metavar="NAME", help="svm, random_forest, knn, logistic, beside them"
    )
    parser.add_argument(
        "--features",
        metavar="FILE",
        help="feature table that the baselines learn from (default: what each model of a work folder, also of "
        "--compare, makes of a sample)",
    )
    add_device(parser, "a CUDA device where there is one")
    add_unsafe_load(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Tune, print the table, write the files."""
    # torch and scikit-learn take seconds to import: --help and a mistyped option should not wait for them.
    from cellseg.io.files import write_json, write_text
    from cellseg.multimodal.late_fusion.inputs import read_models
    from cellseg.multimodal.late_fusion.probabilities import save_probabilities
    from cellseg.multimodal.late_fusion.study import study_fusion
    from cellseg.multimodal.late_fusion.tuning import SHRINKAGE, TuningOptions
    from cellseg.multimodal.late_fusion.weights_file import save_fusion_weights

    shrinkage = SHRINKAGE if options.shrinkage is None else options.shrinkage
    search = TuningOptions(options.by, options.mean, options.per_class, options.budget, options.seed, shrinkage)
    _check_names(options)
    common = dict(
        splits=(options.split, options.unseen),
        task=options.task,
        features=bool(options.baselines),
        device=options.device,
        unsafe_load=options.unsafe_load,
    )
    tables, others = read_models(options.models, **common), read_models(options.compare, **common)
    classical = _baselines(options, tables, others)
    study = study_fusion(tables, search, options.tuners, [*others, *classical], options.split, options.unseen)
    out = Path(options.out)
    for table in (*tables, *others):
        save_probabilities(out / "probabilities" / f"{table.name}.npz", table)
    found = study.chosen
    provenance = {
        **study.to_dict()["options"],
        "tuner": found.tuner,
        "cost": found.cost,
        "evaluations": found.evaluations,
        "task": options.task,
        "tuned_on": {"split": options.split, "samples": study.samples[0]},
        "models": {table.name: dict(table.source) for table in tables},
    }
    save_fusion_weights(out / "weights.json", found.weights, provenance)
    write_json(out / "late_fusion.json", study.to_dict())
    write_text(out / "late_fusion.md", study.table() + "\n")
    print(study.table())
    return 0


def _check_names(options: argparse.Namespace) -> None:
    """Refuse misspelt tuners and baselines before models are run."""
    from cellseg.ensemble.tuners import TUNERS
    from cellseg.errors import InputError
    from cellseg.multimodal.late_fusion.classical import CLASSIFIERS

    for option, given, known in (
        ("--tuners", options.tuners, TUNERS),
        ("--baselines", options.baselines, CLASSIFIERS),
    ):
        unknown = [name for name in given if name not in known]
        if unknown:
            raise InputError(f"{option} {unknown[0]}: expected some of {', '.join(sorted(known))}")
    if options.features and not options.baselines:
        raise InputError("--features: are what --baselines learn from; give these too, or leave it out")


def _baselines(options: argparse.Namespace, tables: list, others: list) -> list:
    """Tables of the classical classifiers that were asked for."""
    from cellseg.errors import InputError
    from cellseg.multimodal.late_fusion.classical import FeatureSamples, classify
    from cellseg.multimodal.late_fusion.inputs import read_feature_samples

    if not options.baselines:
        return []
    if options.features:
        samples = [read_feature_samples(options.features, tables[0])]
    else:
        samples = [FeatureSamples.of(table) for table in (*tables, *others) if table.features is not None]
    if not samples:
        raise InputError("--baselines: files of probabilities hold no features; give work folders or --features")
    return [classify(each, kind, options.seed) for each in samples for kind in options.baselines]


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
