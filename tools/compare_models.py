"""Train several multimodal configs with several seeds and compare them on the test split, with baselines."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cellseg.cli import add_cfg_options, add_device, make_parser, run_command


def build_parser() -> argparse.ArgumentParser:
    """The command line of this tool."""
    parser = make_parser(
        "Train every config with every seed, answer the test split, and put all beside the first config: captions by\n"
        "BLEU, CIDEr-D, ROUGE-L and METEOR, searches by Top-1 and Top-5, classes and answers by accuracy and F1.\n"
        "A config is Python and gets executed: open only configs that you trust.\n\n"
        "Trainings go to DIR/runs/NAME/seed-N. Started again, the command continues what was stopped and trains\n"
        "nothing twice. Writes comparison.md and comparison.json, and of questions and images numbered by whole\n"
        "numbers answers_SPLIT.json and captions_SPLIT.json beside each training, for derive_text.py score.",
        "python tools/compare_models.py configs/multimodal/ablations/vqa_*.py --seeds 0 1 2 --out out/ablations",
    )
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="training configs; the first is compared with")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="N", help="of the trainings (default: 0)")
    parser.add_argument("--alone", action="store_true", help="also train each config with each of its modalities alone")
    parser.add_argument(
        "--data-seed", type=int, default=0, metavar="N", help="of splits and generated data (default: 0)"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of trainings and tables")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"), help="samples that are scored")
    add_device(parser, "a CUDA device where there is one; of the scoring, training takes what there is")
    add_cfg_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Train, compare, print the tables, write the files."""
    # torch and mmengine take seconds to import: --help and a mistyped option should not wait for them.
    from cellseg.io.files import write_json, write_text
    from cellseg.machine import find_device
    from cellseg.multimodal.comparison.compare import compare_runs, meteor_is_there
    from cellseg.multimodal.comparison.report import comparison_table, comparison_values
    from cellseg.multimodal.comparison.trainings import check_runs, plan_runs
    from cellseg.training.config import parse_options

    changes = parse_options(options.cfg_options)
    runs = plan_runs(options.configs, options.seeds, options.out, changes, options.data_seed, options.alone)
    find_device(options.device)
    check_runs(runs, options.split)

    def note(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    rows, about = compare_runs(runs, options.split, meteor_is_there(), options.device, note)
    table = comparison_table(rows, about, options.seeds)
    write_text(Path(options.out) / "comparison.md", table + "\n")
    write_json(Path(options.out) / "comparison.json", comparison_values(rows, about, options.seeds))
    print(table)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
