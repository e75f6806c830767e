"""Prepares OpenMMLab before the test files here import mmcv and mmdet, and a training that takes milliseconds."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import Dataset

import cellseg.openmmlab  # noqa: F401

_NUMBERS = itertools.count()


class Interrupted(Exception):
    """Ends a training at a chosen place, like a kill."""


class Numbers(Dataset):
    """Items with their index and noise from torch and numpy, as augmentation has it."""

    metainfo = {"classes": ("cell",)}

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def get_data_info(self, index: int) -> dict:
        """Sides of the image, which mmdet's batch sampler groups by."""
        return {"width": 1 + index % 3, "height": 1.5}

    def __getitem__(self, index: int) -> dict:
        noise = torch.rand(3) + float(np.random.rand())
        return {"inputs": noise + index / self.count, "index": index}


class Line(BaseModel):
    """A linear layer after dropout."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)
        self.dropout = torch.nn.Dropout(0.3)

    def forward(self, inputs, index=None, mode="tensor"):
        output = self.layer(self.dropout(inputs))
        return {"loss": (output**2).mean()} if mode == "loss" else [output.detach()]


class Scores(BaseMetric):
    """Gives the scores it was made with, one after another; draws random numbers as an untidy metric would."""

    default_prefix = "toy"

    def __init__(self, values):
        super().__init__()
        self.values = iter(values)

    def process(self, data_batch, data_samples):
        torch.rand(2)
        np.random.rand(2)
        self.results.append(0)

    def compute_metrics(self, results):
        return {"score": next(self.values)}


class Record(Hook):
    """Notes batches, losses and validations; interrupts before an iteration or while validating."""

    priority = "VERY_HIGH"

    def __init__(self, stop_at: int = -1, stop_when: str = "train"):
        self.rows, self.stop_at, self.stop_when = [], stop_at, stop_when

    def _stop(self, when, runner):
        if self.stop_when == when and runner.iter == self.stop_at:
            raise Interrupted

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self._stop("train", runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.rows.append((runner.iter, data_batch["index"].tolist(), outputs["loss"].item()))

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self._stop("val", runner)

    def after_val_epoch(self, runner, metrics=None):
        self.rows.append(("validated", runner.iter, metrics["toy/score"]))


@pytest.fixture
def toy_runner(tmp_path, monkeypatch):
    """A function that builds a Runner of the training above; its hook ``record`` tells what happened."""
    # Many small checkpoints: a busy disk would take seconds to sync each.
    monkeypatch.setattr("os.fsync", lambda descriptor: None)

    def build(
        loop="iter",
        sampler="InfiniteSampler",
        iterations=12,
        val_interval=4,
        workers=0,
        count=10,
        seed=None,
        scores=None,
        record=None,
        checkpoint=None,
        schedule=None,
        accumulate=1,
        hooks=None,
        **options,
    ) -> Runner:
        by_epoch = loop == "epoch"
        if by_epoch:
            train = {"by_epoch": True, "max_epochs": iterations, "val_interval": val_interval}
        else:
            train = {"by_epoch": False, "max_iters": iterations, "val_interval": val_interval}
        record = record or Record()
        saving = {"type": "CheckpointHook", "interval": 1, "by_epoch": by_epoch} | (checkpoint or {})
        loading = {"num_workers": workers, "collate_fn": {"type": "default_collate"}} | {
            key: options.pop(key) for key in ("persistent_workers", "drop_last", "batch_sampler") if key in options
        }
        with torch.random.fork_rng():
            torch.manual_seed(11)
            model = Line()
        runner = Runner(
            model=model,
            work_dir=str(options.pop("work_dir", tmp_path / "work")),
            train_dataloader={"dataset": Numbers(count), "sampler": {"type": sampler, "shuffle": True}, "batch_size": 3}
            | loading,
            train_cfg=train,
            val_dataloader={
                "dataset": Numbers(4),
                "sampler": {"type": "DefaultSampler", "shuffle": False},
                "batch_size": 2,
                "collate_fn": {"type": "default_collate"},
            },
            val_cfg={},
            val_evaluator=Evaluator(Scores(scores or itertools.repeat(0.5))),
            optim_wrapper={
                "type": "OptimWrapper",
                "optimizer": {"type": "Adam", "lr": 0.01},
                "accumulative_counts": accumulate,
            },
            param_scheduler=[schedule or {"type": "PolyLR", "by_epoch": False, "begin": 0, "end": 20}],
            default_hooks={"checkpoint": saving, "logger": {"type": "LoggerHook", "interval": 1}},
            custom_hooks=[record] + ([{"type": "ExactResumeHook"}] if hooks is None else hooks),
            randomness={"seed": seed},
            visualizer={"type": "Visualizer", "vis_backends": [], "name": f"toy{next(_NUMBERS)}"},
            # mmengine keeps what it logs by this name, for the life of the process.
            experiment_name=f"toy{next(_NUMBERS)}",
            log_level="WARNING",
            cfg=Config({"toy": True}),
            **options,
        )
        runner.record = record
        return runner

    return build


@pytest.fixture
def record_hook():
    """The hook class that interrupts, and the exception by which it does."""
    return Record, Interrupted


@pytest.fixture
def tiny_training() -> Path:
    """The script that trains a tiny Mask R-CNN or UPerNet."""
    return Path(__file__).parent / "tiny_training.py"
