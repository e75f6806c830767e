"""How the cores are shared between torch, OpenCV and the workers that load images."""

import os
from dataclasses import dataclass

from cellseg.errors import InputError
from cellseg.machine import available_cores


@dataclass(frozen=True)
class ThreadPlan:
    """Threads of the process that trains or infers.

    Attributes:
        torch: threads of torch's operators, at least 1.
        opencv: threads of OpenCV; 0 means none besides the caller's.
    """

    torch: int
    opencv: int

    def apply(self) -> None:
        """Set them in this process; loader workers use one thread each by themselves."""
        import cv2
        import torch

        # torch sets OpenMP's threads with its own.
        torch.set_num_threads(self.torch)
        cv2.setNumThreads(self.opencv)


def plan_threads(workers: int = 0, threads: int | None = None) -> ThreadPlan:
    """Share the cores of this machine out.

    Args:
        workers: loader processes beside this one; each gets a core while there are enough.
        threads: for torch; None takes OMP_NUM_THREADS where that is set, else what the workers leave.

    Raises:
        InputError: a number below 0 (workers) or 1 (threads), or OMP_NUM_THREADS is not a number.
    """
    if workers < 0:
        raise InputError(f"workers is {workers}; expected 0 or more")
    if threads is None:
        threads = _from_environment() or max(1, available_cores() - workers)
    if threads < 1:
        raise InputError(f"threads is {threads}; expected 1 or more")
    # OpenCV's thread pool does not survive the fork of a worker, and would compete with the workers for the cores.
    return ThreadPlan(torch=threads, opencv=0 if workers else threads)


def _from_environment() -> int | None:
    text = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if not text:
        return None
    if not text.isdigit() or int(text) == 0:
        raise InputError(f"the environment variable OMP_NUM_THREADS is {text!r}; expected a number from 1 on")
    return int(text)
