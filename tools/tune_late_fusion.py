"""Tune the weights of a late fusion of classifiers, and compare tuners, models and baselines on held-out samples."""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cellseg.cli import add_device, add_unsafe_load, make_parser, run_command

if TYPE_CHECKING:
    from cellseg.multimodal.late_fusion.study import Study


def build_parser() -> argparse.ArgumentParser:
    """The command line of this tool."""
    parser = make_parser(
        "Combine the class probabilities of several trained models with weights that are tuned on one split, and\n"
        "score them on another. The config.py of a work folder is Python and gets executed: open only folders that\n"
        "you trust.\n\nWrites weights.json (of the search that was best on the samples to tune on), late_fusion.md,\n"
        "late_fusion.json, and probabilities/NAME.npz, which can be given instead of the work folder next time. With\n"
        "--seeds, all that for each seed in seed-N, and late_fusion.md and late_fusion.json of all together.",
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
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seed", type=int, default=0, help="of the tuners and baselines (default: %(default)s)")
    seeds.add_argument(
        "--seeds",
        nargs="+",
        type=int,
        metavar="N",
        help="of the trainings, tuners and baselines: every PATH is a folder with the work folders seed-N, as "
        "compare_models.py writes them",
    )
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
    from cellseg.errors import InputError
    from cellseg.io.files import write_json, write_text
    from cellseg.multimodal.late_fusion.inputs import of_seed
    from cellseg.multimodal.late_fusion.table import pooled_values, study_table

    _check_names(options)
    out, seeds = Path(options.out), options.seeds
    if seeds is None:
        study, tables = _study(options, options.models, options.compare, options.seed)
        _write_study(out, study, tables, options.task)
        print(study_table([study]))
        return 0
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise InputError(f"--seeds: expected different whole numbers from 0 on, found {seeds}")
    named = [[[of_seed(text, seed) for text in part] for part in (options.models, options.compare)] for seed in seeds]
    found = [_study(options, models, others, seed) for seed, (models, others) in zip(seeds, named, strict=True)]
    studies = [study for study, _ in found]
    table = study_table(studies, seeds)
    for seed, (study, tables) in zip(seeds, found, strict=True):
        _write_study(out / f"seed-{seed}", study, tables, options.task)
    write_json(out / "late_fusion.json", pooled_values(studies, seeds))
    write_text(out / "late_fusion.md", table + "\n")
    print(table)
    return 0


def _study(options: argparse.Namespace, models: list[str], compared: list[str], seed: int) -> tuple["Study", list]:
    """What is found with one seed, and the probabilities of the models."""
    from cellseg.multimodal.late_fusion.inputs import read_models
    from cellseg.multimodal.late_fusion.study import study_fusion
    from cellseg.multimodal.late_fusion.tuning import SHRINKAGE, TuningOptions

    shrinkage = SHRINKAGE if options.shrinkage is None else options.shrinkage
    search = TuningOptions(options.by, options.mean, options.per_class, options.budget, seed, shrinkage)
    common = dict(
        splits=(options.split, options.unseen),
        task=options.task,
        features=bool(options.baselines),
        device=options.device,
        unsafe_load=options.unsafe_load,
    )
    tables, others = read_models(models, **common), read_models(compared, **common)
    classical = _baselines(options, tables, others, seed)
    study = study_fusion(tables, search, options.tuners, [*others, *classical], options.split, options.unseen)
    return study, [*tables, *others]


def _write_study(out: Path, study: "Study", tables: list, task: str) -> None:
    """The table, the weights that are kept, and the probabilities."""
    from cellseg.io.files import write_json, write_text
    from cellseg.multimodal.late_fusion.probabilities import save_probabilities
    from cellseg.multimodal.late_fusion.table import study_table, study_values
    from cellseg.multimodal.late_fusion.weights_file import save_fusion_weights

    for table in tables:
        save_probabilities(out / "probabilities" / f"{table.name}.npz", table)
    found = study.chosen
    provenance = {
        **asdict(study.options),
        "tuner": found.tuner,
        "cost": found.cost,
        "evaluations": found.evaluations,
        "task": task,
        "tuned_on": {"split": study.splits[0], "samples": len(study.seen.ids)},
        "models": {table.name: dict(table.source) for table in tables if table.name in found.weights.models},
    }
    save_fusion_weights(out / "weights.json", found.weights, provenance)
    write_json(out / "late_fusion.json", study_values(study))
    write_text(out / "late_fusion.md", study_table([study]) + "\n")


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


def _baselines(options: argparse.Namespace, tables: list, others: list, seed: int) -> list:
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
    return [classify(each, kind, seed) for each in samples for kind in options.baselines]


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
