"""The package's Trainer on any device, with this project's log, resuming and checkpoints."""

import math
from argparse import Namespace
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from loguru import logger
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from yolox.core import Trainer
from yolox.data import DataPrefetcher
from yolox.utils import ModelEMA, adjust_status, get_world_size, synchronize

from cellseg.errors import CellsegError, InputError
from cellseg.models.yolox.checkpoints import load_fitting_weights, load_state, save_state
from cellseg.models.yolox.exp import CellExp

LATEST = "latest_ckpt.pth"
EMA_DECAY = 0.9998  # the package's
DIVERGED = "iteration {}: the loss is not finite; lower exp.basic_lr_per_img"
LOSSES = {
    "total_loss": "loss",
    "iou_loss": "loss_box",
    "conf_loss": "loss_objectness",
    "cls_loss": "loss_class",
    "l1_loss": "loss_l1",
}


class HostPrefetcher:
    """Stands for the package's prefetcher where there is no CUDA stream to overlap with."""

    def __init__(self, loader: DataLoader):
        self.batches = iter(loader)

    def next(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Images and targets of the next iteration."""
        images, targets, _, _ = next(self.batches)
        return images, targets


class CellTrainer(Trainer):
    """Trains with the package's loop, step, learning rate and moving average.

    What is drawn at random depends on the seed and the iteration alone (see ``SampleOrder``), so the state after an
    epoch is weights, their moving average, optimizer and loss scale; a training resumed from it goes on exactly.

    Args:
        exp: settings and data.
        work_dir: the training's folder.
        publish: called with the network to keep, its AP and the iteration whenever validation finds a better one.
        make_log: called, in the first process only, with the number of iterations and the iteration to resume after
            (or None); returns a ``cellseg.training.log.TrainingLog`` or its like.
        resume: continue from ``latest_ckpt.pth``.
        pretrained: weights to start from.
        unsafe_load: load them even if their file holds more than weights.
        amp: mixed precision (CUDA only).
        local_rank: number of this process on its machine.
        begin: called when everything is built and loaded, before the first iteration.
    """

    def __init__(
        self,
        exp: CellExp,
        work_dir: Path,
        publish: Callable[[nn.Module, float, int], None],
        make_log: Callable[[int, int | None], Any],
        resume: bool = False,
        pretrained: Path | None = None,
        unsafe_load: bool = False,
        amp: bool = False,
        local_rank: int = 0,
        begin: Callable[[], None] | None = None,
    ):
        arguments = Namespace(
            fp16=amp, experiment_name=work_dir.name, batch_size=exp.batch_size, resume=resume, ckpt=None, logger="none"
        )
        # The package's logger replaces both streams and opens a log of its own; neither is wanted.
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            super().__init__(exp, arguments)
        logger.remove()
        (work_dir / "train_log.txt").unlink(missing_ok=True)
        self.local_rank = local_rank
        self.device = f"cuda:{local_rank}" if torch.cuda.is_available() else "cpu"
        self.work_dir = work_dir
        self.publish = publish
        self.make_log = make_log
        self.pretrained = pretrained
        self.unsafe_load = unsafe_load
        self.begin = begin
        self.best_ap = -1.0  # below any AP: the first validation is the best so far
        self.log = None

    def train(self) -> None:
        """Run the package's loop; the log is closed whatever happens."""
        try:
            super().train()
        finally:
            self._close_log()

    def before_train(self) -> None:
        """Build network, optimizer, data and evaluator; the package's own method insists on CUDA."""
        on_cuda = self.device != "cpu"
        if on_cuda:
            torch.cuda.set_device(self.local_rank)
        model = self.exp.get_model().to(self.device)
        if not on_cuda:
            # A tenth faster on CPUs, with the same values.
            model = model.to(memory_format=torch.channels_last)
        self.optimizer = self.exp.get_optimizer(self.args.batch_size)
        state = load_state(self.work_dir / LATEST, self.device) if self.args.resume else None
        self.start_epoch = state["epoch"] if state else 0
        self.train_loader = self.exp.get_train_loader(self.start_epoch)
        self.max_iter = len(self.train_loader)
        self._open_log()
        if self.pretrained is not None:
            load_fitting_weights(model, self.pretrained, self._say, self.unsafe_load)
        self.lr_scheduler = self.exp.get_lr_scheduler(self.exp.basic_lr_per_img * self.args.batch_size, self.max_iter)
        if self.use_model_ema:
            self.ema_model = ModelEMA(model, EMA_DECAY)
        if state:
            self._restore(model, state)
        self.model = model
        if self.is_distributed:
            devices = [self.local_rank] if on_cuda else None
            self.model = DistributedDataParallel(model, device_ids=devices, broadcast_buffers=False)
        # The package chooses a new size after every tenth iteration: what it chose last still holds.
        self.input_size = self.exp.size_at(self.start_epoch * self.max_iter // 10 * 10, self.max_iter)
        self.prefetcher = DataPrefetcher(self.train_loader) if on_cuda else HostPrefetcher(self.train_loader)
        self.evaluator = self.exp.get_evaluator(self.args.batch_size, self.is_distributed)
        if self.begin is not None:
            self.begin()

    def before_epoch(self) -> None:
        """The last epochs add the L1 loss; ``SampleOrder`` ends the mosaic by itself."""
        self._network().head.use_l1 = self.epoch >= self.exp.settings.mosaic_epochs

    def train_one_iter(self) -> None:
        """The package's step; what a diverged network makes of it gets a name."""
        try:
            super().train_one_iter()
        except RuntimeError as error:
            # The assignment of boxes checks its probabilities before there is a loss to look at.
            if "between 0 and 1" in str(error):
                raise CellsegError(DIVERGED.format(self.progress_in_iter + 1)) from error
            raise

    def after_iter(self) -> None:
        """Report the losses; the package chooses the size of the next inputs."""
        iteration = self.progress_in_iter + 1
        losses = {name: float(self.meter[key].latest) for key, name in LOSSES.items()}
        if not all(math.isfinite(value) for value in losses.values()):
            raise CellsegError(DIVERGED.format(iteration))
        if self.log is not None:
            self.log.step(iteration, losses, self.meter["lr"].latest)
        self.exp.iteration = iteration
        super().after_iter()

    def after_epoch(self) -> None:
        """Validate where it is due, then save: a resumed training does not validate again."""
        if self.is_distributed:
            self._average_norms()
        done = self.epoch + 1
        if done % self.exp.eval_interval == 0 or done == self.max_epoch:
            self.evaluate_and_save_model()
        self.save_ckpt("latest")

    def evaluate_and_save_model(self) -> None:
        """Score the averaged weights; publish them if they are the best so far."""
        network = self.ema_model.ema if self.use_model_ema else self._network()
        with adjust_status(network, training=False):
            ap, ap50, summary = self.exp.eval(network, self.evaluator, self.is_distributed)
        if self.rank == 0:
            iteration = (self.epoch + 1) * self.max_iter
            self.log.score(iteration, {"bbox_ap": ap, "bbox_ap50": ap50})
            self._say(summary)
            if ap > self.best_ap:
                self.best_ap = ap
                self.publish(network, ap, iteration)
        if self.save_history_ckpt:
            self.save_ckpt(f"epoch_{self.epoch + 1}")
        synchronize()

    def save_ckpt(self, ckpt_name: str, update_best_ckpt: bool = False) -> None:
        """Save everything that a resumed training needs, complete or not at all."""
        if self.rank != 0:
            return
        state = {
            "epoch": self.epoch + 1,
            "network": self._network().state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "best_ap": float(self.best_ap),
        }
        if self.use_model_ema:
            # Under the package's own key: what it would evaluate and fine-tune from.
            state["model"] = self.ema_model.ema.state_dict()
        save_state(self.work_dir / f"{ckpt_name}_ckpt.pth", state)

    def _restore(self, model: nn.Module, state: dict[str, Any]) -> None:
        try:
            model.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            if self.use_model_ema:
                self.ema_model.ema.load_state_dict(state["model"])
                self.ema_model.updates = self.max_iter * self.start_epoch
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(
                f"{self.work_dir / LATEST}: --resume: does not fit the network and optimizer of this config; resume "
                "with the settings that the training began with"
            ) from error
        self.best_ap = state["best_ap"]

    def _network(self) -> nn.Module:
        return self.model.module if self.is_distributed else self.model

    def _open_log(self) -> None:
        if self.rank == 0:
            resumed = self.start_epoch * self.max_iter if self.args.resume else None
            self.log = self.make_log(self.max_iter * self.max_epoch, resumed)
            logger.add(lambda message: self._say(message.rstrip()), level="WARNING", format="{message}")

    def _close_log(self) -> None:
        logger.remove()
        if self.log is not None:
            self.log.close()

    def _say(self, text: str) -> None:
        if self.log is not None:
            self.log.say(text)

    def _average_norms(self) -> None:
        """Each process has seen other images: share what batch normalisation counted."""
        networks = [self._network()] + ([self.ema_model.ema] if self.use_model_ema else [])
        for network in networks:
            for buffer in network.buffers():
                if buffer.is_floating_point():
                    torch.distributed.all_reduce(buffer)
                    buffer /= get_world_size()
