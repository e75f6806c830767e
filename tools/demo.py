"""The whole job on synthetic images: data, three small members, tuning, inference, scores and pictures.

It runs the same commands that a user would and prints each of them: one after another, but for the trainings, and for
inference and comparison, which run beside each other.
"""

import argparse
import os
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cellseg.cli import make_parser, run_command
from cellseg.errors import CellsegError
from cellseg.machine import available_cores

ROOT = Path(__file__).resolve().parent.parent
MEMBERS = ("yolox", "mask_rcnn", "upernet")
# The training that takes longest begins first.
TRAINING_ORDER = ("mask_rcnn", "yolox", "upernet")
# Tools whose steps, where they follow each other, need nothing of one another.
BESIDE = {"train.py": "trainings", "ensemble_infer.py": "results", "compare.py": "results"}


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
            for name in TRAINING_ORDER
        ),
        (
            "weights and thresholds, tuned on the validation images",
            ["tune_ensemble.py", *ensemble, "--out", f"{out}/weights.json", "--budget", "150", "--seed", seed, *at],
        ),
        (
            "inference on the held-out images",
            ["ensemble_infer.py", *ensemble, f"{data}:test", "--out", f"{out}/result", "--overwrite"]
            + ["--weights", f"{out}/weights.json", "--formats", "submission", "labels", "overlay", "cells", *at],
        ),
        (
            "the ensemble against each member alone",
            ["compare.py", *ensemble, "--weights", f"{out}/weights.json", "--out", f"{out}/comparison", *at],
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
    ]


def run(options: argparse.Namespace) -> int:
    """Run every step; stop at the first that fails."""
    started = time.monotonic()
    todo = steps(options)
    for number, (title, command) in enumerate(todo, start=1):
        print(f"{number}/{len(todo)} {title}\n$ python tools/{shlex.join(command)}", flush=True)
    times = []
    for _, group in groupby(todo, key=lambda step: BESIDE.get(step[1][0], step[1][0])):
        steps_of_stage = list(group)
        times += _run_beside(steps_of_stage) if len(steps_of_stage) > 1 else [_run_step(*steps_of_stage[0])]
    print("\n== done")
    for title, seconds in times:
        print(f"{seconds:7.1f} s  {title}")
    print(f"{time.monotonic() - started:7.1f} s  in all")
    out = options.out
    print(f"\nsubmission: {out}/result/submission.csv\noverlays:   {out}/result/overlay\ncomparison: {out}/comparison")
    return 0


def _run_step(title: str, command: list[str], lead: str = "", threads: int | None = None) -> tuple[str, float]:
    """Run a command; returns its title and how long it took.

    Args:
        title: what it does.
        command: tool and arguments.
        lead: stands before each line that it prints.
        threads: what it may use; None leaves that to it.
    """
    begun = time.monotonic()
    print(f"\n== {title}", flush=True)
    environment = dict(os.environ) if threads is None else {"OMP_NUM_THREADS": str(threads)} | os.environ
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) if lead else {}
    call = [sys.executable, f"tools/{command[0]}", *command[1:]]
    with subprocess.Popen(call, cwd=ROOT, env=environment, **pipes) as process:
        for line in process.stdout or ():
            print(f"{lead}{line}", end="", flush=True)
    if process.returncode:
        text = shlex.join(command)
        raise CellsegError(f"the step failed with exit code {process.returncode}: python tools/{text}")
    return title, time.monotonic() - begun


def _run_beside(group: list[tuple[str, list[str]]]) -> list[tuple[str, float]]:
    """Run commands beside each other, as many at a time as there are cores, each with its share of them.

    Small networks gain little from a second thread: two trainings of one thread are done long before two of two
    threads that follow each other.
    """
    cores = available_cores()
    beside = min(cores, len(group))
    with ThreadPoolExecutor(beside) as pool:
        running = [pool.submit(_run_step, *step, f"[{_name(step[1])}] ", cores // beside) for step in group]
        try:
            return [step.result() for step in running]
        except CellsegError:
            # Those that have not begun need not; the others are waited for.
            pool.shutdown(cancel_futures=True)
            raise


def _name(command: list[str]) -> str:
    """What tells a command from those beside it: the network that is trained, or the tool."""
    return Path(command[1] if command[0] == "train.py" else command[0]).stem


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(build_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
