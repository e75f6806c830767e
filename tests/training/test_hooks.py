"""The hook between mmengine's loop and the log."""

from types import SimpleNamespace

import pytest
import torch

import cellseg.openmmlab  # noqa: F401
from cellseg.errors import CellsegError
from cellseg.training.curves import read_curves
from cellseg.training.hooks import TrainingLogHook


@pytest.fixture
def runner(tmp_path):
    """What the hook looks at in a Runner."""
    wrapper = SimpleNamespace(get_lr=lambda: {"lr": [0.5, 0.25], "momentum": [0.9]})
    return SimpleNamespace(rank=0, iter=0, max_iters=4, work_dir=str(tmp_path), optim_wrapper=wrapper)


def run(hook, runner, losses):
    for number, value in enumerate(losses):
        outputs = {"loss": torch.tensor(value, requires_grad=True), "loss_cls": torch.tensor(value / 2)}
        hook.after_train_iter(runner, number, outputs=outputs | {"acc": torch.tensor(float("nan"))})
        runner.iter += 1


def test_losses_and_scores_are_logged_and_accuracies_are_not(runner, tmp_path):
    hook = TrainingLogHook(interval=2)
    hook.before_train(runner)
    run(hook, runner, [1.0, 3.0, 5.0, 7.0])
    hook.after_val_epoch(runner, {"segm_ap": 0.5})
    hook.after_train(runner)
    assert read_curves(tmp_path / "curves.csv") == [
        (2, "train", "loss", 2.0),
        (2, "train", "loss_cls", 1.0),
        (2, "train", "lr", 0.5),
        (4, "train", "loss", 6.0),
        (4, "train", "loss_cls", 3.0),
        (4, "train", "lr", 0.5),
        (4, "val", "segm_ap", 0.5),
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_training_with_a_remedy(runner, value):
    hook = TrainingLogHook()
    hook.before_train(runner)
    run(hook, runner, [1.0, 2.0])
    with pytest.raises(CellsegError) as error:
        run(hook, runner, [value])
    assert str(error.value) == (
        f"iteration 3: the loss is not finite (loss {value}, loss_cls {value}); lower learning_rate or clip gradients"
    )
    assert hook.log is not None
    hook.log.close()


def test_a_resumed_training_keeps_the_rows_before_its_checkpoint(runner, tmp_path):
    hook = TrainingLogHook(interval=1)
    hook.before_train(runner)
    run(hook, runner, [1.0, 2.0, 3.0])
    hook.after_train(runner)
    runner.iter = 2
    hook.before_train(runner)
    run(hook, runner, [9.0])
    hook.after_train(runner)
    losses = [(row[0], row[3]) for row in read_curves(tmp_path / "curves.csv") if row[2] == "loss"]
    assert losses == [(1, 1.0), (2, 2.0), (3, 9.0)]


def test_only_the_first_process_writes(runner, tmp_path):
    runner.rank = 1
    hook = TrainingLogHook(interval=1)
    hook.before_train(runner)
    run(hook, runner, [1.0])
    hook.after_val_epoch(runner, {"segm_ap": 0.5})
    hook.after_train(runner)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(CellsegError, match="not finite"):
        run(hook, runner, [float("nan")])
