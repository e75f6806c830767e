"""Checkpoints that are complete or absent: mmengine's saving, written beside, synced, renamed.

mmengine writes a checkpoint over its predecessor's name with a plain ``open``, and deletes the previous one before
the new one is on disk. A training that is killed at the wrong moment then has nothing to continue from. Here every
file that mmengine's local backend puts is atomic, and what becomes outdated goes only after its successor stands.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS

from cellseg.errors import InputError, MissingFileError
from cellseg.io.files import atomic_path, write_text

LAST_CHECKPOINT = "last_checkpoint"

# How scores end of which the smallest is the best.
_SMALLER_IS_BETTER = ("mae", "rmse", "loss")


class AtomicLocalBackend(LocalBackend):
    """mmengine's backend for local paths, whose files are never seen half-written."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes, complete or not at all; missing folders are made."""
        with atomic_path(filepath) as temporary:
            temporary.write_bytes(obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        """Write text, complete or not at all; missing folders are made."""
        with atomic_path(filepath) as temporary:
            temporary.write_text(obj, encoding=encoding)


class AtomicCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook, after which a killed training always finds a checkpoint to continue from.

    Takes the options of mmengine's; a config that says ``CheckpointHook`` gets this one.
    """

    def before_train(self, runner) -> None:
        """Find the folder of the checkpoints, and remove what an interrupted saving left there.

        Raises:
            InputError: the best weights would be the worst.
        """
        super().before_train(runner)
        for name, rule in zip(self._chosen_by, self.rules if self._chosen_by else (), strict=True):
            if rule == "greater" and name.endswith(_SMALLER_IS_BETTER):
                raise InputError(
                    f"best_by={name!r}: the smallest is the best; choose a score of which the largest is, or set "
                    "default_hooks.checkpoint.rule='less', too"
                )
        if is_main_process() and isinstance(self.file_backend, LocalBackend):
            for leftover in Path(self.out_dir).glob(".*.pth"):
                leftover.unlink()

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Keep functions out of the file: with them it could only be loaded by running code.

        OneCycleLR has one among its states; a resumed schedule has it from its construction.
        """
        schedules = checkpoint.get("param_schedulers", [])
        for group in schedules.values() if isinstance(schedules, dict) else [schedules]:
            group[:] = [{key: value for key, value in state.items() if not callable(value)} for state in group]

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        # As in mmengine, but for the order: the new file, then the name of the last, then the outdated one.
        outdated = self._note_kept(runner, step)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            write_text(Path(runner.work_dir) / LAST_CHECKPOINT, str(self.last_ckpt))
            for path in outdated:
                self._remove(path)

    def _note_kept(self, runner, step: int) -> list[str]:
        """Count this step among the kept ones; the paths that are to go for it."""
        if self.max_keep_ckpts <= 0 or (self.keep_ckpt_ids and self.keep_ckpt_ids[-1] == step):
            return []
        full = len(self.keep_ckpt_ids) == self.max_keep_ckpts
        dropped = [self.keep_ckpt_ids.popleft()] if full else []
        self.keep_ckpt_ids.append(step)
        runner.message_hub.update_info("keep_ckpt_ids", list(self.keep_ckpt_ids))
        return [self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old)) for old in dropped]

    @property
    def _chosen_by(self) -> list[str]:
        """Scores that the best weights are chosen by, one by one; without what mmengine chooses itself."""
        return [] if self.save_best is None or self.save_best == "auto" else list(self.key_indicators)

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        missing = [name for name in self._chosen_by if name not in metrics]
        if missing and metrics:
            raise InputError(
                f"best_by={missing[0]!r}: the validation gives no such score; it gives {', '.join(metrics)}"
            )
        # mmengine removes the previous best before it saves the new one, through self.file_backend.
        with self._removals_at_the_end():
            super()._save_best_checkpoint(runner, metrics)

    @contextmanager
    def _removals_at_the_end(self) -> Iterator[None]:
        backend = self.file_backend
        self.file_backend = late = _LateRemoval(backend)
        try:
            yield
        finally:
            self.file_backend = backend
        current = set(getattr(self, "best_ckpt_path_dict", {}).values()) | {getattr(self, "best_ckpt_path", None)}
        for path in late.paths:
            # A resumed training may reach its best at the same iteration again, under the same name.
            if path not in current:
                self._remove(path)

    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):
            self.file_backend.rmtree(path)


class _LateRemoval:
    """A backend that notes what is to be removed instead of removing it."""

    def __init__(self, backend: LocalBackend):
        self._backend = backend
        self.paths: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self.paths.append(path)

    rmtree = remove


def register_saving() -> None:
    """Make mmengine's local files atomic, and ``CheckpointHook`` in configs the hook above."""
    register_backend("local", AtomicLocalBackend, prefixes="", force=True)
    for name in ("CheckpointHook", "AtomicCheckpointHook"):
        HOOKS.register_module(name=name, module=AtomicCheckpointHook, force=True)


def latest_checkpoint(work_dir: str | os.PathLike) -> Path | None:
    """The checkpoint from which a training in this folder continues, None when there is none.

    A work folder may have been moved since: then the file is looked for in it by name.

    Raises:
        InputError: the file ``last_checkpoint`` is empty.
        MissingFileError: it names a checkpoint that is gone.
    """
    note = Path(work_dir) / LAST_CHECKPOINT
    if not note.is_file():
        return None
    text = note.read_text(encoding="utf-8").strip()
    if not text:
        raise InputError(f"{note}: is empty; write the path of the checkpoint to continue from into it, or remove it")
    beside = Path(work_dir) / Path(text).name
    for path in (beside, Path(text)):
        if path.is_file():
            return path
    raise MissingFileError(f"{note}: names {text}, which does not exist; name another checkpoint in it, or remove it")
