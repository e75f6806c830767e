"""Training through the ``yolox`` package: the detector."""

import os
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from mmengine.config import Config
from torch import nn
from yolox.utils import get_rank, synchronize

from cellseg.errors import InputError
from cellseg.members.shape_prior import learn_shape_prior
from cellseg.models.yolox.checkpoints import load_state, save_state
from cellseg.models.yolox.exp import CellExp
from cellseg.models.yolox.trainer import LATEST, CellTrainer
from cellseg.training.log import TrainingLog
from cellseg.training.publish import package_versions

BEST = "best.pth"


def train(
    config: Config,
    work_dir: Path,
    resume: bool = False,
    pretrained: Path | None = None,
    amp: bool = False,
    launcher: str = "none",
    unsafe_load: bool = False,
    begin: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Train a bound config; its best weights are always in ``work_dir/best.pth``.

    Beside the weights (``state_dict``) and the ``meta`` that every engine writes, ``meta["shape_prior"]`` holds the
    mean shape of the training cells, float32 ``[K, S, S]``: the ensemble member's evidence.

    Args:
        config: from ``cellseg.training.config.load_config``: ``data_root``, ``fold`` and ``exp``.
        work_dir: everything the training writes goes here.
        resume: continue from ``work_dir/latest_ckpt.pth``.
        pretrained: a local checkpoint whose fitting weights are loaded first.
        amp: mixed precision (CUDA only).
        launcher: how processes are started: ``none``, ``pytorch`` or ``slurm``.
        unsafe_load: load ``pretrained`` even if it holds more than weights; it can then run any code.
        begin: called when everything is built and loaded, before the first iteration.

    Returns:
        ``best_score`` (COCO box AP on the validation split), ``best_checkpoint`` and ``iteration``.

    Raises:
        InputError: settings, data or a checkpoint that cannot be used.
    """
    work_dir = Path(work_dir)
    if amp and not torch.cuda.is_available():
        raise InputError("--amp: mixed precision needs a CUDA device; leave the option out on a CPU")
    if resume and not (work_dir / LATEST).is_file():
        raise InputError(f"{work_dir}: --resume: no checkpoint to continue from; leave --resume out to start afresh")
    exp = CellExp(_required(config, "exp"), _required(config, "data_root"), int(config.get("fold", 0)), work_dir)
    with _processes(launcher) as local_rank, _quiet_package():
        _seed(exp.seed)
        trainer = CellTrainer(
            exp,
            work_dir,
            publish=_publisher(exp, work_dir / BEST),
            make_log=lambda total, resumed: TrainingLog(work_dir, total, exp.print_interval, resumed),
            resume=resume,
            pretrained=pretrained,
            unsafe_load=unsafe_load,
            amp=amp,
            local_rank=local_rank,
            begin=begin,
        )
        trainer.train()
        synchronize()
    meta = load_state(work_dir / BEST)["meta"]
    return dict(best_score=meta["score"], best_checkpoint=work_dir / BEST, iteration=trainer.max_iter * exp.max_epoch)


def _required(config: Config, name: str) -> Any:
    if name not in config:
        raise InputError(f"{config.filename}: a config of the yolox engine needs {name!r}")
    return config[name]


def _publisher(exp: CellExp, path: Path):
    """What writes ``best.pth``; the shape prior is learned when first needed, by the one process that publishes."""
    prior: list[torch.Tensor] = []

    def publish(network: nn.Module, score: float, iteration: int) -> None:
        if not prior:
            records = exp.folder.load_split(exp.fold, "train")
            prior.append(learn_shape_prior(records, exp.num_classes))
        meta = dict(
            engine="yolox",
            class_names=list(exp.folder.class_names),
            score=float(score),
            score_name="bbox_ap",
            iteration=iteration,
            seed=exp.seed,
            versions=package_versions(),
            shape_prior=prior[0],
        )
        weights = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
        save_state(path, {"state_dict": weights, "meta": meta})

    return publish


def _seed(seed: int) -> None:
    # Every process starts from the same weights; samples have seeds of their own.
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextmanager
def _quiet_package() -> Iterator[None]:
    """The package asks CUDA's mixed precision by its former name in each iteration; torch need not say so each time."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, message=r".*torch\.cuda\.amp.*")
        warnings.filterwarnings("ignore", category=UserWarning, message=".*CUDA is not available.*")
        yield


@contextmanager
def _processes(launcher: str) -> Iterator[int]:
    """Join the processes that a launcher started; yields the number of this one on its machine."""
    if launcher == "none":
        yield 0
        return
    if torch.cuda.is_available():
        from mmengine.dist import init_dist

        init_dist(launcher, backend="nccl")
    elif launcher == "pytorch":
        torch.distributed.init_process_group(backend="gloo")
    else:
        raise InputError(f"--launcher {launcher}: needs CUDA devices; on CPUs use none or pytorch")
    try:
        yield int(os.environ.get("LOCAL_RANK", get_rank()))
    finally:
        torch.distributed.destroy_process_group()
