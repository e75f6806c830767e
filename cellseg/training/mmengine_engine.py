"""Training through mmengine's Runner: Mask R-CNN (mmdet), UPerNet (mmsegmentation), whatever its registries hold."""

import itertools
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from cellseg.errors import CellsegError, InputError
from cellseg.openmmlab import latest_checkpoint, load_checkpoint_file
from cellseg.training.publish import publish_checkpoint

SHOWN = 20  # names of weights in a message
_RUNS = itertools.count()


class CellRunner(Runner):
    """mmengine's Runner, with its log beside ours instead of in a folder named after the time.

    Attributes:
        pretrained: a checkpoint whose fitting weights a training starts from.
        unsafe_load: load that checkpoint without the restriction to plain weights.
        notes: what the training's log is to say at its beginning.
        begin: called when everything is loaded.
    """

    pretrained: Path | None = None
    unsafe_load: bool = False
    notes: tuple[str, ...] = ()
    begin: Callable[[], None] | None = None

    def build_parts(self) -> None:
        """Build now what mmengine builds when the training starts, so that a mistake in the config is known as one."""
        self._train_loop = self.build_train_loop(self._train_loop)
        self._val_loop = self.build_val_loop(self._val_loop)
        self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
        self.param_schedulers = self.build_param_scheduler(self.param_schedulers)

    def load_or_resume(self) -> None:
        """Not earlier than here: the Runner gives all weights their first values right before."""
        super().load_or_resume()
        if self.pretrained is not None:
            self.notes = load_fitting_weights(self.model, self.pretrained, self.unsafe_load)
        if self.begin is not None:
            self.begin()

    def build_logger(self, log_level="INFO", log_file=None, **kwargs):
        if os.path.isdir(self._log_dir) and not os.listdir(self._log_dir):
            os.rmdir(self._log_dir)
        self._log_dir = self.work_dir
        logger = super().build_logger(log_level, os.path.join(self.work_dir, "mmengine.log"), **kwargs)
        for handler in logger.handlers:
            # mmengine's advice to its own hooks; there is nothing that a user could do about it.
            handler.addFilter(lambda record: "will be deprecated in future" not in record.getMessage())
        return logger

    def dump_config(self) -> None:
        """The training door has written ``config.py`` already."""


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
    """Train a bound config and publish its best weights as ``work_dir/best.pth``.

    Args:
        config: from ``cellseg.training.config.load_config``.
        work_dir: everything the training writes goes here.
        resume: continue from the newest checkpoint in ``work_dir``.
        pretrained: a local checkpoint whose fitting weights are loaded first.
        amp: mixed precision (CUDA only).
        launcher: how processes are started: ``none``, ``pytorch`` or ``slurm``.
        unsafe_load: load ``pretrained`` even if it holds more than weights; it can then run any code.
        begin: called when everything is built and loaded, before the first iteration.

    Returns:
        ``best_score``, ``best_checkpoint`` and ``iteration``.

    Raises:
        InputError: a config, checkpoint or option that cannot be used.
    """
    runner = build_runner(config, work_dir, resume, amp, launcher)
    runner.pretrained, runner.unsafe_load, runner.begin = pretrained, unsafe_load, begin
    runner.train()
    best = runner.message_hub.get_info("best_ckpt") if "best_ckpt" in runner.message_hub.runtime_info else None
    score = runner.message_hub.get_info("best_score") if best else None
    # By name: a resumed training may have been moved since its best iteration.
    source = Path(work_dir) / (Path(best).name if best else f"iter_{runner.iter}.pth")
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


def build_runner(config: Config, work_dir: Path, resume: bool, amp: bool, launcher: str) -> CellRunner:
    """The Runner of a bound config, with everything built; arguments and errors as in ``train``."""
    config = Config(config.to_dict(), filename=config.filename)
    _check_iterations(config)
    config.work_dir = str(work_dir)
    config.launcher = launcher
    config.resume = resume
    config.experiment_name = f"{Path(work_dir).name}-{os.getpid()}-{next(_RUNS)}"
    if amp:
        if not torch.cuda.is_available():
            raise InputError("--amp: mixed precision needs a CUDA device; leave the option out on a CPU")
        config.optim_wrapper.type = "AmpOptimWrapper"
        config.optim_wrapper.setdefault("loss_scale", "dynamic")
    if resume:
        latest = latest_checkpoint(work_dir)
        if latest is None:
            raise InputError(f"{work_dir}: --resume: no checkpoint to continue from; start afresh with --overwrite")
        # Named outright: mmengine's own note of it holds the path at the time, and folders get moved.
        config.load_from = str(latest)
    with warnings.catch_warnings(), config_mistakes(config):
        warnings.filterwarnings("ignore", category=UserWarning, module="mmengine|mmdet|mmseg")
        loader = config.train_dataloader
        loader.setdefault("persistent_workers", loader.get("num_workers", 0) > 0)
        runner = CellRunner.from_cfg(config)
        runner.build_parts()
    return runner


def _check_iterations(config: Config) -> None:
    """Refuse numbers that mmengine would divide by, or train nothing with.

    Raises:
        InputError: names the option.
    """
    loop = config.get("train_cfg") or {}
    for name in ("max_iters", "max_epochs", "val_interval"):
        value = loop.get(name, 1)
        # mmengine takes 1e3 for 1000, too.
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 1 or not float(value).is_integer():
            raise InputError(
                f"{config.filename}: train_cfg.{name}: expected a whole number of at least 1, found {value!r}"
            )


@contextmanager
def config_mistakes(config: Config) -> Iterator[None]:
    """Tell what a registry raises for a misspelt type, name or value as a mistake in the config."""
    try:
        yield
    except CellsegError as error:
        # mmengine raises an error of the same kind around ours, with the place of the class in front.
        while isinstance(error.__context__, CellsegError):
            error = error.__context__
        raise error from None
    except (AssertionError, AttributeError, ImportError, KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{config.filename}: the training cannot be built from it ({reason})") from error


def load_fitting_weights(model: torch.nn.Module, path: Path, unsafe: bool = False) -> tuple[str, ...]:
    """Load the weights of a checkpoint that fit by name and shape.

    The file may hold a whole network or a bare backbone (torchvision's ResNet, for example). ``unsafe`` loads it even
    if it holds more than weights; it can then run any code. What a model names in ``of_this_training`` is left alone.

    Returns:
        A line that says which weights did not fit (the class head of a network for other classes, for example), if any.

    Raises:
        InputError: nothing fits.
    """
    checkpoint = load_checkpoint_file(path, unsafe=unsafe)
    weights = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else {}
    model = model.module if is_model_wrapper(model) else model
    kept = getattr(model, "of_this_training", ())
    own = {key: value for key, value in model.state_dict().items() if key not in kept}
    found = {key: weights.get(key, weights.get(key.removeprefix("backbone."))) for key in own}
    fitting = {key: value for key, value in found.items() if getattr(value, "shape", None) == own[key].shape}
    # Counters of normalised batches have no shape: they fit anything.
    if not any(value.is_floating_point() for value in fitting.values()):
        raise InputError(f"{path}: --pretrained: none of its weights fits this network by name and shape")
    model.load_state_dict(fitting, strict=False)
    left = [key for key in own if key not in fitting]
    if not left:
        return ()
    more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
    count = f"{len(fitting)} of {len(own)} weights loaded"
    return (f"{path}: {count}; without a fitting one and random at first: {', '.join(left[:SHOWN])}{more}",)
