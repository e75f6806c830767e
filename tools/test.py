"""Score a trained network on a split of its data."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cellseg.cli import add_cfg_options, add_device, add_unsafe_load, make_parser, run_command


def build_parser() -> argparse.ArgumentParser:
    """The command line of this tool."""
    parser = make_parser(
        "Score a trained network on a split of its data with the evaluator of its training: COCO AP of masks (Mask\n"
        "R-CNN) or boxes (YOLOX), IoU of the class map (UPerNet), scores of the tasks (multimodal). A config is\n"
        "Python and gets executed: open only configs that you trust. What a submission is worth, tools/evaluate.py\n"
        "says.",
        "python tools/test.py work_dirs/mask_rcnn/config.py work_dirs/mask_rcnn/best.pth --split test",
    )
    parser.add_argument("config", help="config.py of the training's work folder, or the config it was trained with")
    parser.add_argument("checkpoint", help="its best.pth")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"), help="of the data (default: test)")
    parser.add_argument("--json", metavar="FILE", help="write the scores: scores, images, split, fold, provenance")
    add_device(parser, "cuda where there is one")
    add_unsafe_load(parser)
    add_cfg_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Score, print and write."""
    # torch and OpenMMLab take seconds to import: --help and a mistyped option should not wait for them.
    from cellseg.io.files import write_json
    from cellseg.training.config import parse_options
    from cellseg.training.testing import score_checkpoint

    result = score_checkpoint(
        options.config,
        options.checkpoint,
        options.split,
        parse_options(options.cfg_options),
        options.device,
        options.unsafe_load,
    )
    if options.json:
        write_json(options.json, result.to_dict())
    fold = "" if result.fold is None else f", fold {result.fold}"
    print(f"{result.images} {'samples' if result.fold is None else 'images'} of split {result.split!r}{fold}")
    width = max([16, *(len(name) + 2 for name in result.scores)])
    for name, value in result.scores.items():
        print(f"{name:<{width}}{'undefined' if value is None else f'{value:.4f}'}")
    if result.note:
        print(result.note)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
