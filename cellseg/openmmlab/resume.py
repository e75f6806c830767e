"""A training that is killed and resumed goes on exactly as if it had not been.

mmengine restores weights, optimizer, schedules and the loss history. It does not restore the random states, and finds
its place among the images by loading everything that was already trained on. ``ExactResumeHook`` keeps what is
missing in every checkpoint and puts it back.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from mmengine.runner.loops import _InfiniteDataloaderIterator
from torch.utils.data import DataLoader

STATE_KEY = "exact_resume"


@HOOKS.register_module(force=True)
class ExactResumeHook(Hook):
    """Saves what an exact resume needs beside mmengine's own states, and restores it.

    On the CPU with ``num_workers=0`` the losses after a resume are those of the undisturbed training. With workers,
    or on several GPUs, the order of the images continues as it was, while workers and the ranks after the first
    start new random streams.

    What it takes care of:

    * random states of Python, numpy, torch and CUDA;
    * the position in the stream of batches, reached without loading an image, and the seed of the sampler;
    * gradients that wait for their step (gradient accumulation);
    * validation: it draws from random streams of its own, and one that was due when the training was killed is made
      up for, so that no candidate for the best checkpoint is missed.

    A config asks for it with ``custom_hooks = [dict(type="ExactResumeHook")]``.
    """

    # After all other hooks: random states are restored last before the loop goes on.
    priority = "LOWEST"

    def __init__(self) -> None:
        self._resumed: dict | None = None
        self._before_validation: dict | None = None

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add the states to a checkpoint that can be resumed (not to a best one, which has weights only)."""
        if "optimizer" not in checkpoint:
            return
        loader = runner.train_dataloader
        checkpoint[STATE_KEY] = {
            "random": self._before_validation or capture_random_states(),
            "validated": self._before_validation is not None,
            "batches": len(loader),
            "sampler_seed": getattr(_sampler(loader), "seed", None),
            "gradients": _gradients(runner.model),
        }

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Remember the states until the loop starts."""
        self._resumed = checkpoint.get(STATE_KEY)

    def before_train(self, runner) -> None:
        """Make up for the validation that was due after the checkpoint."""
        if runner.iter == 0:
            # The weights were loaded to start a new training from (load_from without resume).
            self._resumed = None
        elif self._resumed is None:
            runner.logger.warning(
                "The checkpoint was saved without ExactResumeHook: the training goes on, but with other random "
                "numbers than an undisturbed one."
            )
        elif not self._resumed["validated"] and _validation_is_due(runner):
            runner.val_loop.run()

    def before_train_epoch(self, runner) -> None:
        """Put everything back, right before the loop takes its first batch."""
        if self._resumed is None:
            return
        state, self._resumed = self._resumed, None
        for name, gradient in state["gradients"].items():
            parameter = runner.model.get_parameter(name)
            parameter.grad = gradient.to(parameter.device)
        _restore_position(runner, state, lambda: _restore_on_rank(state["random"], runner))

    def before_val(self, runner) -> None:
        """Set the random states of the training aside."""
        self._before_validation = capture_random_states()

    def after_val(self, runner) -> None:
        """Take them up again, so that validating changes nothing in the training."""
        restore_random_states(self._before_validation)
        self._before_validation = None


def capture_random_states() -> dict[str, Any]:
    """States of the global random generators of Python, numpy, torch and CUDA, as tensors, numbers and text."""
    name, keys, *rest = numpy.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(numpy.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """Put back what ``capture_random_states`` gave, on the GPUs that are there."""
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = states["numpy"]
    numpy.random.set_state((name, keys.cpu().numpy().astype(numpy.uint32), *rest))
    # A checkpoint that was loaded to the GPU has these there too, but they are set from the CPU.
    torch.set_rng_state(states["torch"].cpu())
    if torch.cuda.is_available():
        for index, state in enumerate(states["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(state.cpu(), index)


def _restore_on_rank(states: dict[str, Any], runner) -> None:
    rank = get_rank()
    if rank == 0:
        restore_random_states(states)
        return
    # Only the first process saves; the others need streams that differ from its and from those before.
    seed = int(numpy.random.SeedSequence([runner.seed, runner.iter, rank]).generate_state(1)[0])
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)


def _gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    # Usually none: the step has been made and the gradients are cleared.
    return {name: value.grad.cpu() for name, value in model.named_parameters() if value.grad is not None}


def _validation_is_due(runner) -> bool:
    loop = runner.train_loop
    if runner.val_loop is None:
        return False
    if isinstance(loop, IterBasedTrainLoop):
        now, end = loop.iter, loop.max_iters
    elif loop.iter == loop.epoch * len(loop.dataloader):
        now, end = loop.epoch, loop.max_epochs
    else:
        return False
    loop._decide_current_val_interval()
    return now >= loop.val_begin and (now % loop.val_interval == 0 or now == end)


def _restore_position(runner, state: dict, restore: Callable[[], None]) -> None:
    """Let the loop go on where the checkpoint was saved, and call ``restore`` right before its first batch."""
    loop = runner.train_loop
    loader = loop.dataloader
    if len(loader) != state["batches"]:
        runner.logger.warning(
            f"The checkpoint was saved with {state['batches']} batches an epoch, now there are {len(loader)}: the "
            "images come in another order than in an undisturbed training."
        )
        restore()
    elif isinstance(loop, IterBasedTrainLoop):
        loop.dataloader_iterator = None
        rest, passes = _advance(loader, state["sampler_seed"], loop.iter)
        _resume_loader(loader, rest, restore)
        iterator = _InfiniteDataloaderIterator(loader)
        iterator._epoch = passes
        loop.dataloader_iterator = _AlreadyAdvanced(iterator, loop.iter)
    elif isinstance(loop, EpochBasedTrainLoop) and loop.iter > loop.epoch * len(loader):
        rest, _ = _advance(loader, state["sampler_seed"], loop.iter - loop.epoch * len(loader), epoch=loop.epoch)
        _resume_loader(loader, rest, restore)
    else:
        _set_seed(loader, state["sampler_seed"])
        restore()


def _advance(loader: DataLoader, seed: int | None, batches: int, epoch: int = 0) -> tuple[Iterator[list[int]], int]:
    """Pass over batches without loading them.

    Args:
        loader: its samplers are taken from their beginning.
        seed: of the sampler when the training began.
        batches: how many.
        epoch: of the first pass over the images.

    Returns:
        The iterator over the batches (of image indices) that remain in the pass, and the epoch it belongs to.
    """
    _set_seed(loader, seed)
    sampler = _sampler(loader)
    _set_epoch(sampler, epoch)
    iterator = iter(loader.batch_sampler)
    for _ in range(batches):
        if next(iterator, None) is None:
            epoch += 1
            _set_epoch(sampler, epoch)
            iterator = iter(loader.batch_sampler)
            next(iterator)
    return iterator, epoch


def _set_seed(loader: DataLoader, seed: int | None) -> None:
    sampler = _sampler(loader)
    if seed is not None:
        # Without a seed in the config each process draws its own when it builds the sampler.
        sampler.seed = seed
    # These two remember what an iterator over them has taken, and loader workers take ahead.
    if isinstance(sampler, InfiniteSampler):
        sampler.indices = sampler._indices_of_rank()
    if hasattr(loader.batch_sampler, "_aspect_ratio_buckets"):
        loader.batch_sampler._aspect_ratio_buckets = [[] for _ in loader.batch_sampler._aspect_ratio_buckets]


def _set_epoch(sampler: Any, epoch: int) -> None:
    if hasattr(sampler, "set_epoch"):
        sampler.set_epoch(epoch)


def _sampler(loader: DataLoader) -> Any:
    # With a batch sampler of its own, the loader's ``sampler`` is a mere default.
    return getattr(loader.batch_sampler, "sampler", loader.sampler)


def _resume_loader(loader: DataLoader, rest: Iterator[list[int]], restore: Callable[[], None]) -> None:
    # DataLoader forbids to assign this attribute once it is built, because an iterator in use would not follow;
    # none is in use here, and persistent workers are started anew.
    object.__setattr__(loader, "batch_sampler", _ResumedBatches(loader.batch_sampler, rest, restore))
    loader._iterator = None


class _ResumedBatches:
    """A batch sampler whose first pass is the rest of an interrupted one.

    ``restore`` is called when the first batch is taken: at the end of all that precedes the first batch in the loop,
    and before the images of the batch are loaded and augmented.
    """

    def __init__(self, batch_sampler: Any, rest: Iterator[list[int]], restore: Callable[[], None]):
        self._batch_sampler = batch_sampler
        self._rest: Iterator[list[int]] | None = rest
        self._restore = restore

    def __iter__(self) -> Iterator[list[int]]:
        # A generator, because a loader with workers makes two iterators and takes from the second.
        if self._rest is None:
            yield from self._batch_sampler
            return
        rest, self._rest = self._rest, None
        self._restore()
        yield from rest

    def __len__(self) -> int:
        return len(self._batch_sampler)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._batch_sampler, name)


class _AlreadyAdvanced:
    """Gives nothing for the batches that IterBasedTrainLoop wants to skip: they have been passed over."""

    def __init__(self, iterator: Iterator[Any], count: int):
        self._iterator = iterator
        self._count = count

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._count > 0:
            self._count -= 1
            return None
        return next(self._iterator)
