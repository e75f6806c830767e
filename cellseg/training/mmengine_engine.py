"""Training through mmengine's Runner: Mask R-CNN (mmdet), UPerNet (mmsegmentation) and whatever lives on its registries."""

import itertools
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from cellseg.errors import InputError
from cellseg.openmmlab.checkpoints import load_checkpoint_file
from cellseg.training.publish import publish_checkpoint

_RUNS = itertools.count()


class QuietRunner(Runner):
    """mmengine's Runner, writing its own log beside ours instead of into a folder named after the time."""

    def build_logger(self, log_level="INFO", log_file=None, **kwargs):
        if os.path.isdir(self._log_dir) and not os.listdir(self._log_dir):
            os.rmdir(self._log_dir)
        self._log_dir = self.work_dir
        return super().build_logger(log_level, os.path.join(self.work_dir, "mmengine.log"), **kwargs)

    def dump_config(self) -> None:
        """The training door has written ``config.py`` already."""


def train(
    config: Config,
    work_dir: Path,
    resume: bool = False,
    pretrained: Path | None = None,
    amp: bool = False,
    launcher: str = "none",
) -> dict[str, Any]:
    """Train a bound config and publish its best weights as ``work_dir/best.pth``.

    Args:
        config: from ``cellseg.training.config.load_config``.
        work_dir: everything the training writes goes here.
        resume: continue from the newest checkpoint in ``work_dir``.
        pretrained: a local checkpoint whose fitting weights are loaded first.
        amp: mixed precision (CUDA only).
        launcher: how processes are started: ``none``, ``pytorch`` or ``slurm``.

    Returns:
        ``best_score``, ``best_checkpoint`` and ``iteration``.
    """
    runner = build_runner(config, work_dir, resume, amp, launcher)
    if pretrained is not None:
        load_fitting_weights(runner.model, pretrained, runner.logger)
    runner.train()
    best = runner.message_hub.get_info("best_ckpt") if "best_ckpt" in runner.message_hub.runtime_info else None
    score = runner.message_hub.get_info("best_score") if best else None
    source = Path(best) if best else Path(work_dir) / f"iter_{runner.iter}.pth"
    meta = dict(
        engine="mmengine",
        class_names=list(config.get("class_names", [])),
        score=None if score is None else float(score),
        score_name=config.default_hooks.checkpoint.get("save_best"),
        seed=config.get("seed"),
    )
    if runner.rank == 0:
        publish_checkpoint(source, Path(work_dir) / "best.pth", meta)
    return dict(best_score=meta["score"], best_checkpoint=Path(work_dir) / "best.pth", iteration=runner.iter)


def build_runner(config: Config, work_dir: Path, resume: bool, amp: bool, launcher: str) -> Runner:
    """The Runner of a bound config."""
    config = Config(config.to_dict(), filename=config.filename)
    config.work_dir = str(work_dir)
    config.launcher = launcher
    config.resume = resume
    config.experiment_name = f"{Path(work_dir).name}-{os.getpid()}-{next(_RUNS)}"
    if amp:
        if not torch.cuda.is_available():
            raise InputError("--amp: mixed precision needs a CUDA device; leave the option out on a CPU")
        config.optim_wrapper.type = "AmpOptimWrapper"
        config.optim_wrapper.setdefault("loss_scale", "dynamic")
    if resume and not (Path(work_dir) / "last_checkpoint").is_file():
        raise InputError(f"{work_dir}: --resume: no checkpoint to continue from; leave --resume out to start afresh")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="mmengine|mmdet|mmseg")
        return QuietRunner.from_cfg(config)


def load_fitting_weights(model: torch.nn.Module, path: Path, logger) -> None:
    """Load the weights of a checkpoint that fit by name and shape; say which do not.

    Raises:
        InputError: nothing fits.
    """
    checkpoint = load_checkpoint_file(path)
    weights = checkpoint.get("state_dict", checkpoint)
    own = model.state_dict()
    fitting = {key: value for key, value in weights.items() if key in own and value.shape == own[key].shape}
    if not fitting:
        raise InputError(f"{path}: --pretrained: no weight fits this network by name and shape")
    model.load_state_dict(fitting, strict=False)
    left = sorted(set(own) - set(fitting))
    logger.info(f"{path}: {len(fitting)} of {len(own)} weights loaded; from scratch: {left[:20]}")
