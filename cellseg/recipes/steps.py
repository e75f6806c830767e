"""Commands that need one another's results: run in order, beside each other where they can, and not twice."""

import os
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from cellseg.errors import CellsegError, InputError
from cellseg.io.files import read_json, write_json
from cellseg.machine import available_cores

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Step:
    """A command of ``tools/``.

    Attributes:
        name: unique; what stands before its lines and names its files.
        title: what it does, for people.
        command: the tool's file and its arguments.
        needs: names of the steps whose results it reads.
    """

    name: str
    title: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The command as one would type it in the project."""
        return f"python tools/{shlex.join(self.command)}"


@dataclass(frozen=True)
class Ran:
    """What became of a step: the seconds that it took, None where an earlier run had done it already."""

    step: Step
    seconds: float | None


def run_steps(steps: Sequence[Step], jobs: int | None = None, records: str | Path | None = None) -> list[Ran]:
    """Run steps, each when what it needs is there; as many at a time as ``jobs``, each with its share of the cores.

    Small networks gain little from a second thread: two trainings of one thread each are done long before two of two
    threads that follow each other. A step that has the machine for itself gets all of it. ``OMP_NUM_THREADS`` in the
    environment is the user's word and stays.

    Args:
        steps: what to do; those listed first begin first.
        jobs: steps at a time; None: as many as there are cores.
        records: folder for a record of each step that was done and its output (``NAME.json``, ``NAME.log``). A step
            that is on record with the same command is not run again, unless one that it needs was. None: every step
            runs, and prints what it has to say.

    Returns:
        One entry a step, in the order in which they ended.

    Raises:
        InputError: fewer than one job; a step needs one that is not there, or itself.
        CellsegError: a step failed; those that run beside it are waited for, nothing else begins.
    """
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs {jobs}: expected 1 or more commands at a time")
    by_name = {step.name: step for step in steps}
    order = _sorter(steps, by_name)
    cores = available_cores()
    jobs = min(cores if jobs is None else jobs, max(1, len(steps)))
    levels = _levels(steps)
    width = Counter(levels.values())
    beside = {name: min(jobs, width[level]) for name, level in levels.items()}
    runner = _Runner(
        {name: max(1, cores // number) for name, number in beside.items()},
        {name: number > 1 for name, number in beside.items()},
        None if records is None else Path(records),
    )
    ended: list[Ran] = []
    place = {name: index for index, name in enumerate(by_name)}
    with ThreadPoolExecutor(jobs) as pool:
        ready: list[str] = []
        running: dict[Future[Ran], str] = {}
        while order.is_active():
            ready = sorted([*ready, *order.get_ready()], key=place.__getitem__)
            # Not all that are ready: one that is listed before them may become so in the meantime.
            while ready and len(running) < jobs:
                name = ready.pop(0)
                anew = any(ran.seconds is not None for ran in ended if ran.step.name in by_name[name].needs)
                running[pool.submit(runner.run, by_name[name], anew)] = name
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                order.done(running.pop(future))
                # A failure ends it here, once those that run beside it have ended.
                ended.append(future.result())
    return ended


def _sorter(steps: Sequence[Step], by_name: Mapping[str, Step]) -> TopologicalSorter:
    order: TopologicalSorter = TopologicalSorter()
    for step in steps:
        for name in step.needs:
            if name not in by_name:
                raise InputError(f"step {step.name}: needs {name!r}, which is no step; there are {sorted(by_name)}")
        order.add(step.name, *step.needs)
    try:
        order.prepare()
    except CycleError as error:
        raise InputError(f"steps need each other in a circle: {' <- '.join(error.args[1])}") from None
    return order


def _levels(steps: Sequence[Step]) -> dict[str, int]:
    """How many steps must follow each other before each one; steps of one level can run at the same time."""
    needs = {step.name: step.needs for step in steps}
    levels: dict[str, int] = {}
    for name in TopologicalSorter(needs).static_order():
        levels[name] = max((levels[own] + 1 for own in needs[name]), default=0)
    return levels


class _Runner:
    """Runs one step as a process; used by several threads at a time."""

    def __init__(self, threads: Mapping[str, int], beside: Mapping[str, bool], records: Path | None):
        self._threads, self._beside, self._records = threads, beside, records

    def run(self, step: Step, anew: bool) -> Ran:
        """Run a step unless it is on record; ``anew``: what it reads has changed."""
        if self._records is not None and not anew and self._recorded(step):
            print(f"-- {step.name}: done before", flush=True)
            return Ran(step, None)
        begun = time.monotonic()
        print(f"\n== {step.title}", flush=True)
        code = self._call(step)
        if code:
            log = "" if self._records is None else self._log_of(step)
            raise CellsegError(f"the step failed with exit code {code}: {step.text}{log}")
        seconds = time.monotonic() - begun
        if self._records is not None:
            write_json(self._file(step, "json"), {"command": list(step.command), "seconds": round(seconds, 1)})
            print(f"-- {step.name}: {seconds:.0f} s", flush=True)
        return Ran(step, seconds)

    def _call(self, step: Step) -> int:
        environment = {"OMP_NUM_THREADS": str(self._threads[step.name])} | os.environ
        call = [sys.executable, f"tools/{step.command[0]}", *step.command[1:]]
        with ExitStack() as stack:
            log = None
            if self._records is not None:
                self._records.mkdir(parents=True, exist_ok=True)
                self._file(step, "json").unlink(missing_ok=True)
                log = stack.enter_context(open(self._file(step, "log"), "w", encoding="utf-8"))
                log.write(f"$ {step.text}\n")
                log.flush()
            # Lines of several commands at a time need a name before them; one alone may draw its progress.
            pipe = subprocess.PIPE if log is None and self._beside[step.name] else log
            both = None if pipe is None else subprocess.STDOUT
            process = stack.enter_context(
                subprocess.Popen(call, cwd=ROOT, env=environment, stdout=pipe, stderr=both, text=True)
            )
            for line in process.stdout or ():
                print(f"[{step.name}] {line}", end="", flush=True)
        return process.returncode

    def _log_of(self, step: Step) -> str:
        """Where the output of a step that failed is, and how it ends: there its error stands."""
        path = self._file(step, "log")
        last = path.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
        return f"; its output is in {path} and ends with: {last}"

    def _recorded(self, step: Step) -> bool:
        path = self._file(step, "json")
        return path.is_file() and read_json(path).get("command") == list(step.command)

    def _file(self, step: Step, suffix: str) -> Path:
        return self._records / f"{step.name}.{suffix}"
