"""Score a trained network on a split of its data folder."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cellseg.cli import add_cfg_options, add_device, add_unsafe_load, make_parser, run_command


def build_parser() -> argparse.ArgumentParser:
    """The command line of this tool."""
    parser = make_parser(
        "Score a trained network on a split of its data folder with the evaluator of its training: COCO AP of masks\n"
        "(Mask R-CNN) or boxes (YOLOX), IoU of the class map (UPerNet). A config is Python and gets executed: open\n"
        "only configs that you trust. What a submission is worth, tools/evaluate.py says.",
        "python tools/test.py work_dirs/mask_rcnn/config.py work_dirs/mask_rcnn/best.pth --split test",
    )
    parser.add_argument("config", help="config.py of the training's work folder, or the config it was trained with")
    parser.add_argument("checkpoint", help="its best.pth")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"), help="images (default: test)")
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
    print(f"{result.images} images of split {result.split!r}, fold {result.fold}")
    for name, value in result.scores.items():
        print(f"{name:<16}{'undefined' if value is None else f'{value:.4f}'}")
    if result.note:
        print(result.note)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
