"""Train a network: Mask R-CNN (mmdet), UPerNet (mmsegmentation), YOLOX (yolox) or a multimodal model, by its config."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cellseg.cli import add_cfg_options, add_unsafe_load, make_parser, run_command


def build_parser() -> argparse.ArgumentParser:
    """The command line of this tool."""
    parser = make_parser(
        "Train what a config describes. A config is Python and gets executed: open only configs that you trust.",
        "python tools/train.py configs/mask_rcnn/mask_rcnn_small.py --cfg-options data_root=data/demo seed=1",
    )
    parser.add_argument("config", help="training config, for example configs/upernet/upernet_small.py")
    parser.add_argument("--work-dir", help="where everything goes (default: work_dirs/NAME of the config)")
    parser.add_argument("--resume", action="store_true", help="continue the training found in the work folder")
    parser.add_argument("--overwrite", action="store_true", help="replace the training found in the work folder")
    parser.add_argument("--pretrained", metavar="FILE", help="local checkpoint; weights that fit are loaded first")
    parser.add_argument("--amp", action="store_true", help="mixed precision (CUDA only)")
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm"), default="none", help="process launcher")
    add_unsafe_load(parser)
    add_cfg_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Train and say where the result lies."""
    # torch and OpenMMLab take seconds to import: --help and a mistyped option should not wait for them.
    from cellseg.training.config import parse_options
    from cellseg.training.door import train

    result = train(
        options.config,
        work_dir=options.work_dir,
        resume=options.resume,
        overwrite=options.overwrite,
        pretrained=options.pretrained,
        amp=options.amp,
        launcher=options.launcher,
        options=parse_options(options.cfg_options),
        unsafe_load=options.unsafe_load,
    )
    score = "not validated" if result["best_score"] is None else f"validation score {result['best_score']:.4f}"
    print(f"done: {result['best_checkpoint']} ({score})")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
