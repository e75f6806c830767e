"""Checkpoints load as data, never as code, and only from files.

``torch.load(weights_only=True)`` refuses what mmengine keeps beside the weights: the loss history (HistoryBuffer) and
numpy values. ``allow_mmengine_types`` names exactly those to torch, and ``register_loaders`` makes mmengine load
every checkpoint through ``load_checkpoint_file``, whatever the default of the installed torch is.
"""

import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from cellseg.errors import InputError, MissingFileError

_STATISTICS = ("min", "max", "mean", "current")
# Plain values only: with object or structured arrays, a file could hand in more than numbers and text.
_DTYPES = ("?", "b", "B", "h", "H", "i", "I", "l", "L", "q", "Q", "e", "f", "d", "g", "S", "U")
_ZIP_HEAD = b"PK\x03\x04"
# The first bytes of files that torch wrote before 1.6: protocol 2 and a long integer, torch's magic number.
_LEGACY_HEAD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
# How torch names what it does not load with weights_only=True.
_REFUSED = re.compile(
    r"(?:Unsupported global: GLOBAL|load unsupported GLOBAL|unrecognized function|allowlisted.* but got|"
    r"refused statistic) (<[^>]+>|[\w.]+)",
    re.DOTALL,
)
_REMOTE = re.compile(r"^(\S+:)?[a-z][a-z0-9+.-]*://", re.IGNORECASE)
# Every scheme that mmengine knows fetches a file, and unpickles it with torch's default.
_REMOTE_PREFIXES = (
    "http://",
    "https://",
    "pavi://",
    r"(\S+\:)?s3://",
    r"(\S+\:)?petrel://",
    "modelzoo://",
    "torchvision://",
    "open-mmlab://",
    "openmmlab://",
    "mmcls://",
)


def allow_mmengine_types() -> None:
    """Let ``torch.load(weights_only=True)`` read HistoryBuffer and plain numpy values, and nothing else."""
    reconstruct, (array_type, *_), _ = numpy.zeros(1).__reduce__()
    scalar, _ = numpy.float64(0).__reduce__()
    allowed = [HistoryBuffer, array_type, numpy.dtype]
    allowed += {type(numpy.dtype(code)) for code in _DTYPES}
    # HistoryBuffer's pickle names its statistics as getattr(HistoryBuffer, "mean").
    allowed.append(_under_name(_history_statistic, "builtins.getattr"))
    # numpy 2 moved numpy.core to numpy._core; a file may come from either side.
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        allowed.append(_under_name(reconstruct, f"{module}._reconstruct"))
        allowed.append(_under_name(scalar, f"{module}.scalar"))
    torch.serialization.add_safe_globals(allowed)


def load_checkpoint_file(path: str | os.PathLike, unsafe: bool = False, map_location: Any = "cpu") -> Any:
    """Load a checkpoint that torch, mmengine or yolox wrote.

    Args:
        path: a file on this machine.
        unsafe: unpickle whatever the file holds. That runs any code its author put in; only for files from
            people you would let run a program on your machine.
        map_location: as for ``torch.load``.

    Returns:
        What was saved, usually a dict.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is cut short, is not a checkpoint, or holds objects other than weights, numbers and text.
    """
    _refuse_remote(str(path))
    path = Path(path).expanduser()
    _check_form(path)
    try:
        return torch.load(path, map_location=map_location, weights_only=not unsafe)
    except (MemoryError, torch.cuda.OutOfMemoryError):
        raise
    # A damaged file makes its reader fail in any way, from struct.error to AssertionError.
    except Exception as error:
        raise InputError(_explain(path, error)) from error


def register_loaders() -> None:
    """Make mmengine's ``load_checkpoint`` and ``Runner.resume`` load safely, and only from files."""
    CheckpointLoader.register_scheme("", load_from_local, force=True)
    CheckpointLoader.register_scheme(_REMOTE_PREFIXES, load_from_remote, force=True)


# mmengine logs the names of these two from the tenth letter on.
def load_from_local(filename: str, map_location: Any = None) -> Any:
    """mmengine's loader for paths."""
    return load_checkpoint_file(filename, map_location=map_location)


def load_from_remote(filename: str, map_location: Any = None) -> Any:
    """mmengine's loader for everything that is not on this machine: refuses."""
    _refuse_remote(filename)


def _refuse_remote(name: str) -> None:
    if _REMOTE.match(name):
        raise InputError(
            f"{name}: checkpoints are loaded from files only, never from the network; download it, check where it "
            "comes from, and give the path of the file"
        )


def _check_form(path: Path) -> None:
    """Refuse what torch never wrote before torch reads it; its older versions guess at the form of a file."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; expected a checkpoint file, such as best.pth in it")
    if not path.is_file():
        raise MissingFileError(f"{path}: no such checkpoint; look for one in the work folder of a training")
    with open(path, "rb") as file:
        head = file.read(len(_LEGACY_HEAD))
    if not head:
        raise InputError(f"{path}: is empty, its writer was interrupted; use an older checkpoint")
    if head.startswith(_ZIP_HEAD):
        _check_archive(path)
    elif head != _LEGACY_HEAD:
        raise InputError(f"{path}: not a PyTorch checkpoint; expected a file written by torch.save (.pth, .pt)")


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
    except zipfile.BadZipFile as error:
        raise InputError(
            f"{path}: the checkpoint is cut short (interrupted copy or full disk); copy it again or use another"
        ) from error
    if "constants.pkl" in names:
        raise InputError(f"{path}: a TorchScript program, not a checkpoint; expected a file written by torch.save")
    if "data.pkl" not in names:
        raise InputError(f"{path}: not a PyTorch checkpoint but another zip archive; expected a .pth or .pt file")


def _explain(path: Path, error: Exception) -> str:
    if refused := _REFUSED.search(str(error)):
        return (
            f"{path}: refused, because it holds more than weights, numbers and text ({refused.group(1)}), and loading "
            "that could run code; if you trust its author as much as a program's, use --unsafe-load, which runs "
            "whatever the file contains"
        )
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"{path}: damaged checkpoint ({reason}); copy it again or use another"


def _history_statistic(owner: Any, name: str) -> Any:
    """Stands for ``getattr`` in a checkpoint: gives HistoryBuffer's statistics and nothing else."""
    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise pickle.UnpicklingError(f"refused statistic {name} of {owner}")
    return vars(HistoryBuffer)[name]


def _under_name(function: Any, name: str) -> Any:
    """What makes torch know a function by a name other than its own."""
    if _torch_takes_pairs():
        return function, name

    def renamed(*arguments: Any) -> Any:
        return function(*arguments)

    renamed.__module__, _, renamed.__name__ = name.rpartition(".")
    renamed.__qualname__ = renamed.__name__
    return renamed


def _torch_takes_pairs() -> bool:
    # torch 2.4 and 2.5 know an allowed function only by its own module and name.
    return tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 6)
