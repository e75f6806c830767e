"""A folder that is complete or absent: written beside, renamed at the end."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cellseg.datasets.folder import (
    ANNOTATION_FILE,
    IMAGE_FOLDER,
    SHEET_FILE,
    SPLIT_FOLDER,
    SUMMARY_FILE,
    TRUTH_FILE,
    read_summary,
)
from cellseg.errors import CellsegError, InputError

_OWN_NAMES = {ANNOTATION_FILE, IMAGE_FOLDER, SHEET_FILE, SPLIT_FOLDER, SUMMARY_FILE, TRUTH_FILE}


def check_out(out: Path, inputs: Iterable[Path], overwrite: bool) -> None:
    """Whether ``out`` may be written.

    Raises:
        InputError: it exists, and may not be replaced: without ``overwrite``, or because it is no data folder,
            holds other files, or holds the inputs.
    """
    if not out.is_symlink() and (not out.exists() or (out.is_dir() and not any(out.iterdir()))):
        return
    if out.is_symlink() or not out.is_dir():
        raise InputError(f"{out}: exists and is not a folder; choose another --out")
    if not overwrite:
        raise InputError(f"{out}: exists; choose another --out, or replace it with --overwrite")
    try:
        read_summary(out)
    except InputError as error:
        raise InputError(f"{out}: is no data folder, so --overwrite leaves it alone; choose another --out") from error
    foreign = sorted(path.name for path in out.iterdir() if path.name not in _OWN_NAMES)
    if foreign:
        names = ", ".join(foreign[:5])
        raise InputError(f"{out}: holds files that are not its own ({names}); move them before --overwrite")
    for path in inputs:
        if path.resolve().is_relative_to(out.resolve()):
            raise InputError(f"{out}: holds the input {path}, which --overwrite would remove; choose another --out")


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """Yield an empty hidden folder beside ``out`` that takes its place when the block succeeds.

    When the block raises, the folder goes away and ``out`` stays as it was.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    try:
        yield folder
        umask = os.umask(0)
        os.umask(umask)
        folder.chmod(0o777 & ~umask)  # mkdtemp makes private folders
        _sync(folder)
        _take_place(folder, out)
    except OSError as error:
        if isinstance(error, CellsegError):
            raise
        raise InputError(f"{out}: cannot be written ({error.strerror or error}); nothing was changed") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _take_place(folder: Path, out: Path) -> None:
    if not out.exists():
        os.replace(folder, out)
        return
    # A folder that is not empty cannot be replaced in one step; the old one comes back if the second step fails.
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent))
    os.replace(out, old / out.name)
    try:
        os.replace(folder, out)
    except OSError:
        os.replace(old / out.name, out)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Make the names in the folder durable before it takes its place; the files themselves already are."""
    for path in (folder, *(inner for inner in folder.rglob("*") if inner.is_dir())):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
