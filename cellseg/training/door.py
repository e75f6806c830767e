"""The one door to training: whatever the network, a config goes in and a work folder comes out."""

import os
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from cellseg.errors import CellsegError, InputError, MissingFileError
from cellseg.openmmlab.threads import plan_threads
from cellseg.training.config import load_config
from cellseg.training.work_dir import work_folder

LAUNCHERS = ("none", "pytorch", "slurm")
# What tells a process its number, and what starts the processes.
_RANK = {"pytorch": "RANK", "slurm": "SLURM_PROCID"}
_STARTER = {"pytorch": "torchrun --nproc_per_node GPUS tools/train.py ...", "slurm": "srun"}


def default_work_dir(config_path: str | Path) -> Path:
    """``work_dirs/NAME`` for a config ``.../NAME.py``."""
    return Path("work_dirs") / Path(config_path).stem


def train(
    config_path: str | Path,
    work_dir: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    pretrained: str | Path | None = None,
    amp: bool = False,
    launcher: str = "none",
    options: Mapping[str, Any] | None = None,
    unsafe_load: bool = False,
) -> dict[str, Any]:
    """Train what a config describes.

    Args:
        config_path: a training config (it is Python and gets executed).
        work_dir: where everything goes; default ``work_dirs/NAME``.
        resume: continue the training found in ``work_dir``.
        overwrite: discard the training found in ``work_dir``.
        pretrained: a local checkpoint whose fitting weights are loaded first.
        amp: mixed precision on CUDA.
        launcher: ``none``, ``pytorch`` (torchrun) or ``slurm``.
        options: dotted config keys and values.
        unsafe_load: load ``pretrained`` even if it holds more than weights; it can then run any code.

    Returns:
        ``best_score``, ``best_checkpoint``, ``iteration`` and ``work_dir``.

    Raises:
        InputError: an option, config, data folder or checkpoint that cannot be used.
        CellsegError: the training cannot go on: its loss is not finite, or the GPU's memory is full.
    """
    config = load_config(config_path, options)
    work_dir = Path(work_dir) if work_dir else default_work_dir(config_path)
    if pretrained is not None and not Path(pretrained).is_file():
        raise MissingFileError(f"{pretrained}: --pretrained: no such file")
    if pretrained is not None and resume:
        raise InputError("--pretrained and --resume exclude each other: a resumed training has its own weights")
    if unsafe_load and pretrained is None:
        raise InputError("--unsafe-load: is about the file of --pretrained; give that too, or leave it out")
    if overwrite and resume:
        raise InputError(
            "--overwrite and --resume exclude each other: one discards the training, the other continues it"
        )
    if amp and not torch.cuda.is_available():
        raise InputError("--amp: mixed precision needs a CUDA device; leave the option out on a CPU")
    _check_launcher(launcher, config.engine)
    threads = plan_threads(_loader_workers(config))
    prepared = nullcontext(_nothing)
    if _is_first_process(launcher):
        prepared = work_folder(work_dir, config, resume, overwrite)
    with prepared as begin:
        threads.apply()
        if config.engine == "yolox":
            from cellseg.training.yolox_engine import train as train_engine
        else:
            from cellseg.training.mmengine_engine import train as train_engine
        try:
            result = train_engine(
                config,
                work_dir,
                resume=resume,
                pretrained=Path(pretrained) if pretrained else None,
                amp=amp,
                launcher=launcher,
                unsafe_load=unsafe_load,
                begin=begin,
            )
        except torch.cuda.OutOfMemoryError as error:
            raise CellsegError(
                "the memory of the GPU is too small for this config; lower its batch size or view"
            ) from error
    return {**result, "work_dir": work_dir}


def _check_launcher(launcher: str, engine: str) -> None:
    """Refuse what the frameworks would answer with a traceback."""
    if launcher == "none":
        return
    if engine == "mmengine" and not torch.cuda.is_available():
        raise InputError(f"--launcher {launcher}: needs CUDA devices; leave the option out on a CPU")
    if _RANK[launcher] not in os.environ:
        raise InputError(
            f"--launcher {launcher}: {_RANK[launcher]} is not set; start the training with {_STARTER[launcher]}"
        )


def _is_first_process(launcher: str) -> bool:
    """Whether this process prepares the work folder; a launcher starts several with one folder."""
    return launcher == "none" or os.environ[_RANK[launcher]] == "0"


def _loader_workers(config: Mapping[str, Any]) -> int:
    """Processes that load images beside the training, as its engine's config has them."""
    part, name = ("exp", "data_num_workers") if config["engine"] == "yolox" else ("train_dataloader", "num_workers")
    section = config.get(part)
    workers = section.get(name, 0) if isinstance(section, Mapping) else 0
    # What is no such number, its engine refuses in its own words.
    return workers if type(workers) is int and workers > 0 else 0


def _nothing() -> None:
    pass
