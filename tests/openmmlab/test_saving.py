"""Checkpoints are complete or absent, and there is always one to continue from."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import mmengine.fileio
import pytest
import torch
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import find_latest_checkpoint
from mmengine.runner.checkpoint import save_checkpoint

from cellseg.errors import InputError, MissingFileError
from cellseg.openmmlab import latest_checkpoint, load_checkpoint_file
from cellseg.openmmlab.saving import AtomicCheckpointHook, AtomicLocalBackend

BEST = {"interval": 4, "save_best": "toy/score", "rule": "greater", "max_keep_ckpts": 1}


class DiskFull(OSError):
    """What a test lets saving fail with."""


def names(folder: Path, pattern: str = "*.pth") -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


def test_mmengine_writes_through_the_atomic_backend(tmp_path):
    assert type(mmengine.fileio.get_file_backend(str(tmp_path))) is AtomicLocalBackend
    assert (
        type(mmengine.fileio.get_file_backend(str(tmp_path), backend_args={"backend": "local"})) is AtomicLocalBackend
    )
    mmengine.fileio.put(b"bytes", tmp_path / "new/bytes")
    mmengine.fileio.put_text("Zellen: \u00b5m\n", tmp_path / "new/text")
    assert (tmp_path / "new/bytes").read_bytes() == b"bytes"
    assert (tmp_path / "new/text").read_text(encoding="utf-8") == "Zellen: \u00b5m\n"
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "new/bytes").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("failing", ["pathlib.Path.write_bytes", "os.fsync", "os.replace"])
def test_a_failure_while_saving_leaves_the_old_checkpoint(tmp_path, monkeypatch, failing):
    path = tmp_path / "iter_1.pth"
    save_checkpoint({"iteration": 1}, str(path))

    def fail(*arguments):
        raise DiskFull("no space left")

    monkeypatch.setattr(failing, fail)
    with pytest.raises(DiskFull):
        save_checkpoint({"iteration": 2}, str(path))
    monkeypatch.undo()
    assert load_checkpoint_file(path) == {"iteration": 1}
    assert os.listdir(tmp_path) == ["iter_1.pth"]


def test_a_kill_while_saving_leaves_the_old_checkpoint(tmp_path):
    path = tmp_path / "iter_1.pth"
    save_checkpoint({"iteration": 1}, str(path))
    code = (
        "import os, signal\nfrom mmengine.runner.checkpoint import save_checkpoint\nimport cellseg.openmmlab\n"
        "os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"save_checkpoint({{'iteration': 2}}, {str(path)!r})\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert load_checkpoint_file(path) == {"iteration": 1}
    assert len(names(tmp_path, ".iter_1.*.pth")) == 1  # written but not yet in its place


def test_configs_get_the_atomic_hook():
    assert type(HOOKS.build({"type": "CheckpointHook", "interval": 1})) is AtomicCheckpointHook
    assert issubclass(AtomicCheckpointHook, CheckpointHook)


def test_leftovers_of_a_kill_go_when_training_starts(toy_runner, tmp_path):
    (tmp_path / "work").mkdir()
    for name in (".iter_1.x8f.pth", "mine.pth", ".hidden"):
        (tmp_path / "work" / name).write_bytes(b"")
    toy_runner(iterations=2, checkpoint={"interval": 100}).train()
    assert names(tmp_path / "work", ".*") == [".hidden"]
    assert names(tmp_path / "work") == ["iter_2.pth", "mine.pth"]


@pytest.mark.parametrize("keep", [1, 2, -1])
def test_as_many_checkpoints_are_kept_as_asked_for(toy_runner, tmp_path, keep):
    toy_runner(checkpoint={"interval": 3, "max_keep_ckpts": keep}).train()
    expected = [f"iter_{step}.pth" for step in (3, 6, 9, 12)][-keep if keep > 0 else 0 :]
    assert names(tmp_path / "work") == sorted(expected)
    assert find_latest_checkpoint(str(tmp_path / "work")) == str(tmp_path / "work/iter_12.pth")
    kept = load_checkpoint_file(tmp_path / "work/iter_12.pth")["message_hub"]["runtime_info"].get("keep_ckpt_ids")
    assert kept == ([9, 12][-keep:] if keep > 0 else None)


def fail_at(monkeypatch, name: str) -> None:
    """Let torch fail to save the checkpoint of this name."""
    put = AtomicLocalBackend.put

    def check(self, obj, filepath):
        if Path(filepath).name == name:
            raise DiskFull(name)
        put(self, obj, filepath)

    monkeypatch.setattr(AtomicLocalBackend, "put", check)


def test_the_previous_checkpoint_goes_after_the_new_one_is_saved(toy_runner, tmp_path, monkeypatch):
    fail_at(monkeypatch, "iter_6.pth")
    with pytest.raises(DiskFull):
        toy_runner(checkpoint={"interval": 3, "max_keep_ckpts": 1}).train()
    assert names(tmp_path / "work") == ["iter_3.pth"]
    assert latest_checkpoint(tmp_path / "work") == tmp_path / "work/iter_3.pth"
    monkeypatch.undo()
    runner = toy_runner(checkpoint={"interval": 3, "max_keep_ckpts": 1}, resume=True)
    runner.train()
    assert runner.record.rows[0][0] == 3
    assert names(tmp_path / "work") == ["iter_12.pth"]


def test_the_previous_best_goes_after_the_new_one_is_saved(toy_runner, tmp_path, monkeypatch):
    fail_at(monkeypatch, "best_toy_score_iter_8.pth")
    with pytest.raises(DiskFull):
        toy_runner(checkpoint=BEST, scores=[0.1, 0.2, 0.15]).train()
    assert names(tmp_path / "work") == ["best_toy_score_iter_4.pth", "iter_8.pth"]
    monkeypatch.undo()
    # Resuming makes up for the validation at 8, whose score is the best.
    toy_runner(checkpoint=BEST, scores=[0.2, 0.15], resume=True).train()
    assert names(tmp_path / "work") == ["best_toy_score_iter_8.pth", "iter_12.pth"]


def test_a_score_that_the_validation_does_not_give_is_named(toy_runner):
    with pytest.raises(InputError) as error:
        toy_runner(checkpoint=BEST | {"save_best": "toy/skore"}, scores=[0.1, 0.2, 0.3]).train()
    assert str(error.value) == "best_by='toy/skore': the validation gives no such score; it gives toy/score"


@pytest.mark.parametrize("name", ["val_loss", "regression_mae", "regression_rmse"])
def test_the_worst_weights_are_not_kept_as_the_best(toy_runner, name):
    with pytest.raises(InputError) as error:
        toy_runner(checkpoint=BEST | {"save_best": name}).train()
    assert str(error.value).startswith(f"best_by='{name}': the smallest is the best; choose a score of which the larg")
    # By its own rule it may be; that the toy has no such score is another matter.
    with pytest.raises(InputError, match="the validation gives no such score"):
        toy_runner(checkpoint=BEST | {"save_best": name, "rule": "less"}, scores=[0.1, 0.2, 0.3]).train()


def test_a_best_that_is_found_again_under_its_name_stays(toy_runner, tmp_path):
    toy_runner(checkpoint=BEST | {"max_keep_ckpts": -1}, scores=[0.1, 0.2, 0.3], iterations=12).train()
    (tmp_path / "work/last_checkpoint").write_text(str(tmp_path / "work/iter_12.pth"))
    checkpoint = load_checkpoint_file(tmp_path / "work/iter_12.pth")
    checkpoint["message_hub"]["runtime_info"]["best_score"] = 0.0
    checkpoint["exact_resume"]["validated"] = False
    torch.save(checkpoint, tmp_path / "work/iter_12.pth")
    toy_runner(checkpoint=BEST | {"max_keep_ckpts": -1}, scores=[0.3], iterations=12, resume=True).train()
    assert names(tmp_path / "work", "best*") == ["best_toy_score_iter_12.pth"]


def test_several_best_scores(toy_runner, tmp_path):
    several = {"save_best": ["toy/score", "toy/other"], "rule": ["greater", "less"], "interval": 100}
    runner = toy_runner(checkpoint=several, scores=[0.1, 0.3, 0.2])
    metric = runner._val_evaluator.metrics[0]
    compute = metric.compute_metrics
    metric.compute_metrics = lambda results: (found := compute(results)) | {"other": found["score"]}
    runner.train()
    assert names(tmp_path / "work", "best*") == ["best_toy_other_iter_4.pth", "best_toy_score_iter_8.pth"]


def test_the_latest_checkpoint(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    assert latest_checkpoint(work) is None
    note = work / "last_checkpoint"
    note.write_text("")
    with pytest.raises(InputError, match="last_checkpoint: is empty; write the path"):
        latest_checkpoint(work)
    note.write_text("/somewhere/iter_3.pth\n")
    with pytest.raises(MissingFileError, match="last_checkpoint: names /somewhere/iter_3.pth, which does not exist"):
        latest_checkpoint(work)
    # The folder was moved here with its checkpoint.
    (work / "iter_3.pth").write_bytes(b"")
    assert latest_checkpoint(work) == work / "iter_3.pth"
    # The checkpoints are kept elsewhere.
    (tmp_path / "iter_4.pth").write_bytes(b"")
    note.write_text(str(tmp_path / "iter_4.pth"))
    assert latest_checkpoint(work) == tmp_path / "iter_4.pth"
