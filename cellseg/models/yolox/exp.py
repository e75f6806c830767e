"""The package's Exp, set up from a config and a data folder."""

import random
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import nn
from torch.utils.data import DataLoader
from yolox.exp import Exp
from yolox.utils import get_rank, get_world_size

from cellseg.datasets.folder import DataFolder
from cellseg.errors import InputError
from cellseg.models.yolox.data import CellImages, CellMosaic, SampleOrder, ValidationImages, one_thread_per_worker
from cellseg.models.yolox.evaluator import CellEvaluator
from cellseg.models.yolox.network import build_network
from cellseg.models.yolox.settings import SIZE_STEP, YoloxSettings, read_settings


class CellExp(Exp):
    """Everything the package's trainer asks for, made from cells.

    Args:
        values: ``exp=dict(...)`` of the config.
        data_root: a prepared data folder.
        fold: whose ``train`` and ``val`` splits are used.
        work_dir: where the training writes.
    """

    def __init__(self, values: Mapping[str, Any], data_root: str | Path, fold: int, work_dir: Path):
        super().__init__()
        self.settings: YoloxSettings = read_settings(values)
        # The package reads its settings as attributes of the Exp.
        for name, value in asdict(self.settings).items():
            setattr(self, name, value)
        self.test_size = self.settings.test_size or self.settings.input_size
        self.folder = DataFolder(data_root)
        self.fold = fold
        self.num_classes = len(self.folder.class_names)
        self.iteration = 0
        self.output_dir = str(work_dir.parent)
        self.exp_name = work_dir.name

    def get_model(self) -> nn.Module:
        """The network; built once."""
        if getattr(self, "model", None) is None:
            self.model = build_network(self.settings, self.num_classes)
        return self.model

    def get_optimizer(self, batch_size: int) -> torch.optim.Optimizer:
        """The package's parameter groups (no decay for biases and norms) under the chosen optimizer; built once."""
        if "optimizer" in self.__dict__ and isinstance(self.optimizer, torch.optim.Optimizer):
            return self.optimizer
        del self.optimizer  # the setting of that name: the package takes the attribute for an optimizer
        optimizer = super().get_optimizer(batch_size)
        if self.settings.optimizer == "adamw":
            # AdamW's decay is multiplied by its much smaller learning rate, so the same number would mean far less.
            groups = [
                dict(params=group["params"], weight_decay=group["weight_decay"]) for group in optimizer.param_groups
            ]
            lr = optimizer.param_groups[0]["lr"]
            self.optimizer = torch.optim.AdamW(groups, lr=lr, betas=(self.settings.momentum, 0.999), weight_decay=0.0)
        return self.optimizer

    def get_train_loader(self, start_epoch: int) -> DataLoader:
        """Endless batches from the beginning of an epoch on (epochs count from 0)."""
        world_size = get_world_size()
        if self.settings.batch_size % world_size:
            raise InputError(
                f"exp: batch_size = {self.settings.batch_size} cannot be shared by {world_size} processes equally"
            )
        images = CellImages(self.folder, self.fold, "train", self.settings)
        order = SampleOrder(len(images), self.settings, start_epoch, get_rank(), world_size)
        return DataLoader(
            CellMosaic(images),
            batch_sampler=order,
            num_workers=self.settings.data_num_workers,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=one_thread_per_worker,
        )

    def random_resize(self, data_loader: DataLoader, epoch: int, rank: int, is_distributed: bool) -> tuple[int, int]:
        """Input size of the iterations to come; the package asks every tenth (the trainer keeps ``iteration``)."""
        return self.size_at(self.iteration, len(data_loader))

    def size_at(self, iteration: int, epoch_length: int) -> tuple[int, int]:
        """Input size at an iteration of the whole training: growing at first, then varying by ``multiscale_range``.

        The draw depends on the seed and the iteration alone, so that all processes and a resumed training agree.
        """
        full, first = self.settings.input_size, self.settings.first_size
        growing = self.settings.grow_epochs * epoch_length
        if iteration < growing:
            part = iteration / growing
            return tuple(_round_down(start + part * (end - start)) for start, end in zip(first, full, strict=True))
        most = self.settings.multiscale_range
        steps = random.Random(f"{self.settings.seed} {iteration}").randint(-most, most)
        height = full[0] + steps * SIZE_STEP
        return height, max(SIZE_STEP, round(height * full[1] / full[0] / SIZE_STEP) * SIZE_STEP)

    def get_eval_loader(self, batch_size: int, is_distributed: bool, testdev: bool = False, legacy: bool = False):
        """Whole images, one by one; ``testdev`` takes the test split."""
        if legacy:
            raise InputError("networks of the package's legacy form (normalised RGB input) are not supported")
        images = CellImages(self.folder, self.fold, "test" if testdev else "val", self.settings)
        part = ValidationImages(images, get_rank(), get_world_size())
        return DataLoader(part, batch_size=None, num_workers=self.settings.data_num_workers)

    def get_evaluator(self, batch_size: int, is_distributed: bool, testdev: bool = False, legacy: bool = False):
        """The evaluator of the validation (or test) split."""
        loader = self.get_eval_loader(batch_size, is_distributed, testdev, legacy)
        return CellEvaluator(loader, self.settings, self.folder.class_names)


def _round_down(side: float) -> int:
    return max(SIZE_STEP, int(side / SIZE_STEP) * SIZE_STEP)
