"""The whole job on synthetic images: data, three small members, tuning, inference, scores and pictures.

It runs the same commands that a user would, one after another, and prints each of them.
"""

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cellseg.cli import make_parser, run_command
from cellseg.errors import CellsegError

ROOT = Path(__file__).resolve().parent.parent
MEMBERS = ("yolox", "mask_rcnn", "upernet")


def build_parser() -> argparse.ArgumentParser:
    """The command line of this tool."""
    parser = make_parser(__doc__.split("\n")[0], "python tools/demo.py --seed 1 --out work_dirs/demo_seed1")
    parser.add_argument("--out", default="work_dirs/demo", metavar="DIR", help="folder for everything but the data")
    parser.add_argument("--data", default="data/demo", metavar="DIR", help="folder for the synthetic data")
    parser.add_argument("--seed", type=int, default=0, help="of the images, the trainings and the tuning")
    parser.add_argument("--images", type=int, default=120, help="synthetic images of 256 x 256 pixels")
    return parser


def steps(options: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """Titles and command lines of the demo, in order."""
    out, data, seed = options.out, options.data, str(options.seed)
    where = [f"data_root={data}"]
    ensemble = ["configs/demo/ensemble.py"]
    at = ["--cfg-options", *where, *(f"members.{i}.work_dir={out}/{name}" for i, name in enumerate(MEMBERS))]
    prepare = ["--out", data, "--num-images", str(options.images), "--height", "256", "--width", "256", "--folds", "4"]
    return [
        ("synthetic phase-contrast images", ["prepare_data.py", "synthetic", *prepare, "--seed", seed, "--overwrite"]),
        *(
            (
                f"training of {name}",
                ["train.py", f"configs/demo/{name}.py", "--work-dir", f"{out}/{name}", "--overwrite"]
                + ["--cfg-options", *where, f"seed={seed}"],
            )
            for name in MEMBERS
        ),
        (
            "weights and thresholds, tuned on the validation images",
            ["tune_ensemble.py", *ensemble, "--out", f"{out}/weights.json", "--seed", seed, *at],
        ),
        (
            "inference on the held-out images",
            ["ensemble_infer.py", *ensemble, f"{data}:test", "--out", f"{out}/result", "--overwrite"]
            + ["--weights", f"{out}/weights.json", "--formats", "submission", "labels", "overlay", "cells", *at],
        ),
        (
            "scores of the submission",
            [
                "evaluate.py",
                f"{out}/result/submission.csv",
                f"{data}/splits/fold0/test.csv",
                "--json",
                f"{out}/scores.json",
            ],
        ),
        (
            "the ensemble against each member alone",
            ["compare.py", *ensemble, "--weights", f"{out}/weights.json", "--out", f"{out}/comparison", *at],
        ),
    ]


def run(options: argparse.Namespace) -> int:
    """Run every step; stop at the first that fails."""
    started = time.monotonic()
    times = []
    for number, (title, command) in enumerate(todo := steps(options), start=1):
        begun = time.monotonic()
        print(f"\n== {number}/{len(todo)} {title}\n$ python tools/{shlex.join(command)}", flush=True)
        code = subprocess.run([sys.executable, f"tools/{command[0]}", *command[1:]], cwd=ROOT).returncode
        if code:
            raise CellsegError(f"the step failed with exit code {code}: python tools/{shlex.join(command)}")
        times.append((title, time.monotonic() - begun))
    print("\n== done")
    for title, seconds in times:
        print(f"{seconds:7.1f} s  {title}")
    print(f"{time.monotonic() - started:7.1f} s  in all")
    out = options.out
    print(f"\nsubmission: {out}/result/submission.csv\noverlays:   {out}/result/overlay\ncomparison: {out}/comparison")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
