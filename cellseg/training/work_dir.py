"""The folder of a training: what is refused leaves it as it was; what is replaced goes when the new one has begun."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config

from cellseg.errors import InputError
from cellseg.training.config import write_config

_CONFIG = "config.py"


@contextmanager
def work_folder(work_dir: Path, config: Config, resume: bool, overwrite: bool) -> Iterator[Callable[[], None]]:
    """Make the folder ready, with the config in it.

    Until the training has begun, an error leaves everything as it was: no folder, the old training that was to be
    replaced or continued, the old config. Later, a mistake in the data empties a folder that was made ready anew, as
    long as there is no checkpoint.

    Args:
        work_dir: the folder.
        config: of the training.
        resume: continue the training in it.
        overwrite: discard the training in it.

    Yields:
        What is to be called when the training has begun.

    Raises:
        InputError: a folder that cannot be used so.
    """
    used = _check(work_dir, resume, overwrite)
    whole = work_dir.absolute()
    aside = whole.with_name(f".{whole.name}.replaced") if used and overwrite else None
    if aside is not None:
        _move_aside(work_dir, aside)
    there, begun = work_dir.is_dir(), False
    before = (work_dir / _CONFIG).read_bytes() if (work_dir / _CONFIG).is_file() else None

    def begin() -> None:
        nonlocal begun
        begun = True
        if aside is not None:
            shutil.rmtree(aside)

    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        write_config(config, work_dir / _CONFIG)
        yield begin
        if not begun:
            begin()
    except BaseException as error:
        refused = isinstance(error, InputError) and not any(work_dir.glob("*.pth"))
        if not resume and (not begun or refused):
            _clear(work_dir, keep_folder=there)
            if aside is not None and not begun:
                aside.rename(work_dir)
        if before is not None and (not begun or (refused and not resume)):
            (work_dir / _CONFIG).write_bytes(before)
        raise


def _check(work_dir: Path, resume: bool, overwrite: bool) -> bool:
    """Whether the folder holds a training that may be continued or replaced."""
    if work_dir.exists() and not work_dir.is_dir():
        raise InputError(f"{work_dir}: --work-dir names a file; name a folder")
    # A lone config.py is no training.
    used = work_dir.is_dir() and any(path.name != _CONFIG for path in work_dir.iterdir())
    if not used and resume:
        raise InputError(f"{work_dir}: --resume: nothing to continue there; leave --resume out to start afresh")
    if used and not resume and not (work_dir / _CONFIG).is_file():
        raise InputError(f"{work_dir}: holds files that are no training's; choose another --work-dir")
    if used and not resume and not overwrite:
        raise InputError(
            f"{work_dir}: holds a training already; continue it with --resume or replace it with --overwrite"
        )
    return used


def _move_aside(work_dir: Path, aside: Path) -> None:
    try:
        # What a process that was killed left there.
        shutil.rmtree(aside, ignore_errors=True)
        work_dir.rename(aside)
    except OSError as error:
        raise InputError(f"{work_dir}: --overwrite: cannot be replaced ({error}); choose another --work-dir") from error


def _clear(work_dir: Path, keep_folder: bool) -> None:
    if not keep_folder:
        shutil.rmtree(work_dir, ignore_errors=True)
        return
    for path in work_dir.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
