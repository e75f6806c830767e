"""Time and memory of the two sides of a subject; every function here runs in a process of its own."""

import ctypes
import importlib
import mmap
import resource
import statistics
import time
from types import ModuleType
from typing import Any, NamedTuple

import torch

from cellseg.benchmarks.subjects import LARGEST_BOX, Scale
from cellseg.errors import CellsegError

SIDES = ("cellseg", "alternative")

# Enough to run all code once, so that what it loads the first time is not counted.
_TINY = Scale(4, 2 * LARGEST_BOX, 2 * LARGEST_BOX)
_BALLAST_BYTES = 1 << 20


class Times(NamedTuple):
    """Median seconds of each side, and what the subject measures besides."""

    cellseg: float
    alternative: float
    more: dict[str, Any]


def measure_times(name: str, scale: Scale, repeats: int) -> Times:
    """Time both sides by turns; the results of their first runs must fit each other.

    It is processor time: with one thread that is the time on the clock of an idle machine, and other programs do not
    count. By turns, so that a machine that becomes slower does so for both. Before, each side has run on a few cells.

    Raises:
        CellsegError: the two sides do not compute the same, or what a side computed is wrong.
    """
    subject = _prepare(name)
    tiny = subject.make_inputs(_TINY)
    for side in SIDES:
        _side(subject, side)(tiny)
    del tiny
    inputs = subject.make_inputs(scale)
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    for turn in range(repeats):
        results = []
        for side in SIDES:
            run = _side(subject, side)
            begin = time.process_time()
            result = run(inputs)
            seconds[side].append(time.process_time() - begin)
            if turn == 0:
                results.append(result)
            # Not while the other side runs.
            del result
        if results and (difference := subject.find_difference(*results)):
            raise CellsegError(f"{name}: {difference}")
    more = subject.measure_more(scale) if hasattr(subject, "measure_more") else {}
    return Times(*(statistics.median(seconds[side]) for side in SIDES), more)


def measure_memory(name: str, side: str, scale: Scale) -> int:
    """Bytes that one run of one side needs at its peak, on top of the process with everything imported and loaded."""
    subject = _prepare(name)
    run = _side(subject, side)
    make_inputs = getattr(subject, "make_memory_inputs", subject.make_inputs)
    run(make_inputs(_TINY))
    inputs = make_inputs(scale)
    ballast = _fill_to_peak()
    before = _peak_bytes()
    result = run(inputs)
    increase = _peak_bytes() - before
    # Alive until here: the result belongs to the peak, the ballast to what the peak is compared with.
    del result, ballast
    return increase


def _prepare(name: str) -> ModuleType:
    torch.set_num_threads(1)
    return importlib.import_module(f"cellseg.benchmarks.{name}")


def _side(subject: ModuleType, side: str) -> Any:
    return subject.run_cellseg if side == "cellseg" else subject.run_alternative


def _fill_to_peak() -> list[mmap.mmap]:
    """Take memory until the process holds as much as it ever did, so that any more raises its peak.

    The system reports only the largest size that a process ever had. That is more than what it holds now, because
    making the inputs took more for a while, and because a new process begins with the peak of the one that started it.
    """
    _return_free_memory()
    ballast = []
    before = _peak_bytes()
    while _peak_bytes() == before:
        block = mmap.mmap(-1, _BALLAST_BYTES)
        # A page counts once it is written to.
        for page in range(0, _BALLAST_BYTES, mmap.PAGESIZE):
            block[page] = 1
        ballast.append(block)
    return ballast


def _return_free_memory() -> None:
    """Hand freed memory back to the system, which else would be used again without being seen."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # only the GNU C library has it
        trim(0)


def _peak_bytes() -> int:
    # Linux counts in KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
