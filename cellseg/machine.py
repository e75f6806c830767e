"""What this process may use of the machine: cores and memory."""

import ctypes
import os
import sys
from typing import TYPE_CHECKING

from cellseg.errors import InputError

if TYPE_CHECKING:
    import torch

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGE = 1 << 30


def keep_freed_memory() -> bool:
    """Have freed memory used again instead of given back to the system, from now on and in this process only.

    glibc asks the system for every large block and gives it back at once; a network or a vote that frees and asks
    again all the time then spends up to a fifth of its time in having the same pages cleared anew. The price is that
    the process keeps, once it has needed it, the memory of its largest moment.

    Returns:
        Whether it could be arranged: other systems' allocators have no such settings.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGE)) and bool(mallopt(_M_TRIM_THRESHOLD, _LARGE))


def available_cores() -> int:
    """Cores that this process may use, which in a container can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def find_device(text: str | None) -> "torch.device":
    """The device that a command is to use.

    Args:
        text: of ``--device``; None: a CUDA device where there is one.

    Raises:
        InputError: no device for torch, or one that this machine has not.
    """
    # Not before: torch takes seconds to import.
    import torch

    if text is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(text)
    except RuntimeError:
        raise InputError(f"--device {text}: expected cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"--device {text}: there is no such CUDA device; use cpu")
    return device
