"""Hooks that give mmengine's trainings the log and the files which every engine of cellseg leaves."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from cellseg.errors import CellsegError
from cellseg.training.log import TrainingLog


@HOOKS.register_module()
class TrainingLogHook(Hook):
    """Losses and scores as lines, ``curves.csv`` and TensorBoard events; stops a training whose loss is not finite.

    Args:
        interval: iterations between two reports.
    """

    priority = "BELOW_NORMAL"

    def __init__(self, interval: int = 20):
        self.interval = interval
        self.log: TrainingLog | None = None

    def before_train(self, runner: Runner) -> None:
        if runner.rank == 0:
            resumed = runner.iter if runner.iter > 0 else None
            self.log = TrainingLog(runner.work_dir, runner.max_iters, self.interval, resumed)
            for note in getattr(runner, "notes", ()):
                self.log.say(note)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Mapping[str, torch.Tensor] | None = None
    ) -> None:
        losses = {name: float(value.detach()) for name, value in (outputs or {}).items() if "loss" in name}
        if not torch.isfinite(torch.tensor(list(losses.values()))).all():
            parts = ", ".join(f"{name} {value:g}" for name, value in losses.items())
            raise CellsegError(
                f"iteration {runner.iter + 1}: the loss is not finite ({parts}); lower learning_rate or clip gradients"
            )
        if self.log is not None:
            self.log.step(runner.iter + 1, losses, runner.optim_wrapper.get_lr()["lr"][0])

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if self.log is not None:
            self.log.score(runner.iter, {key: float(value) for key, value in (metrics or {}).items()})

    def after_train(self, runner: Runner) -> None:
        if self.log is not None:
            self.log.close()
