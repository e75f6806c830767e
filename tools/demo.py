"""The whole job on synthetic images: data, three small members, tuning, inference, scores and pictures.

It runs the same commands that a user would and prints each of them. The trainings run beside each other, and so do
inference and comparison.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cellseg.cli import make_parser, run_command
from cellseg.recipes.steps import Step, run_steps

MEMBERS = ("yolox", "mask_rcnn", "upernet")
# The training that takes longest begins first.
TRAINING_ORDER = ("mask_rcnn", "yolox", "upernet")


def build_parser() -> argparse.ArgumentParser:
    """The command line of this tool."""
    parser = make_parser(__doc__.split("\n")[0], "python tools/demo.py --seed 1 --out work_dirs/demo_seed1")
    parser.add_argument("--out", default="work_dirs/demo", metavar="DIR", help="folder for everything but the data")
    parser.add_argument("--data", default="data/demo", metavar="DIR", help="folder for the synthetic data")
    parser.add_argument("--seed", type=int, default=0, help="of the images, the trainings and the tuning")
    parser.add_argument("--images", type=int, default=120, help="synthetic images of 256 x 256 pixels")
    return parser


def steps(options: argparse.Namespace) -> list[Step]:
    """The commands of the demo."""
    out, data, seed = options.out, options.data, str(options.seed)
    where = (f"data_root={data}",)
    ensemble = "configs/demo/ensemble.py"
    at = ("--cfg-options", *where, *(f"members.{i}.work_dir={out}/{name}" for i, name in enumerate(MEMBERS)))
    prepare = ("--out", data, "--num-images", str(options.images), "--height", "256", "--width", "256", "--folds", "4")
    weights = f"{out}/weights.json"
    return [
        Step(
            "images",
            "synthetic phase-contrast images",
            ("prepare_data.py", "synthetic", *prepare, "--seed", seed, "--overwrite"),
        ),
        *(
            Step(
                name,
                f"training of {name}",
                ("train.py", f"configs/demo/{name}.py", "--work-dir", f"{out}/{name}", "--overwrite")
                + ("--cfg-options", *where, f"seed={seed}"),
                ("images",),
            )
            for name in TRAINING_ORDER
        ),
        Step(
            "tuning",
            "weights and thresholds, tuned on the validation images",
            ("tune_ensemble.py", ensemble, "--out", weights, "--budget", "150", "--seed", seed, *at),
            MEMBERS,
        ),
        Step(
            "inference",
            "inference on the held-out images",
            ("ensemble_infer.py", ensemble, f"{data}:test", "--out", f"{out}/result", "--overwrite")
            + ("--weights", weights, "--formats", "submission", "labels", "overlay", "cells", *at),
            ("tuning",),
        ),
        Step(
            "comparison",
            "the ensemble against each member alone",
            ("compare.py", ensemble, "--weights", weights, "--out", f"{out}/comparison", *at),
            ("tuning",),
        ),
        Step(
            "scores",
            "scores of the submission",
            ("evaluate.py", f"{out}/result/submission.csv", f"{data}/splits/fold0/test.csv")
            + ("--json", f"{out}/scores.json"),
            # Of the comparison it needs nothing, but its table stands best at the end.
            ("inference", "comparison"),
        ),
    ]


def run(options: argparse.Namespace) -> int:
    """Run every step; stop at the first that fails."""
    started = time.monotonic()
    todo = steps(options)
    for number, step in enumerate(todo, start=1):
        print(f"{number}/{len(todo)} {step.title}\n$ {step.text}", flush=True)
    ended = run_steps(todo)
    print("\n== done")
    for one in sorted(ended, key=lambda one: todo.index(one.step)):
        print(f"{one.seconds:7.1f} s  {one.step.title}")
    print(f"{time.monotonic() - started:7.1f} s  in all")
    out = options.out
    print(f"\nsubmission: {out}/result/submission.csv\noverlays:   {out}/result/overlay\ncomparison: {out}/comparison")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
