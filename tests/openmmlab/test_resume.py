"""A training that is killed and resumed ends as the undisturbed one."""

import gc
import json
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.registry import HOOKS
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from cellseg.openmmlab import (
    ExactResumeHook,
    capture_random_states,
    load_checkpoint_file,
    register_all_modules,
    restore_random_states,
)

DEFAULT = {"sampler": "DefaultSampler"}
EPOCHS = {"loop": "epoch", "iterations": 3, "val_interval": 1, **DEFAULT}
# By epoch, but with a checkpoint at every fifth iteration: amid an epoch of 4.
AMID = {**EPOCHS, "checkpoint": {"by_epoch": False, "interval": 5}}
EVERY_5 = {"checkpoint": {"interval": 5, "max_keep_ckpts": 1}}
EVERY_4 = {"checkpoint": {"interval": 4}}
ONE_CYCLE = {"type": "OneCycleLR", "by_epoch": False, "total_steps": 12, "eta_max": 0.1}
# Keeps images of either shape until they make a batch.
BY_SHAPE = {"batch_sampler": {"type": "mmdet.AspectRatioBatchSampler"}}


def stop_workers() -> None:
    """End the loader workers of trainings that are over; torch waits ten seconds for them when they are garbage."""
    for item in gc.get_objects():
        if type(item) is _MultiProcessingDataLoaderIter:
            item._shutdown_workers()


def kill_and_resume(toy_runner, record_hook, tmp_path, stop_at, stop_when="train", **options):
    """Rows of an undisturbed training, and of one interrupted and resumed, from the resume on."""
    record, interrupted = record_hook
    register_all_modules()
    whole, cut, resumed = record(), record(stop_at, stop_when), record()
    toy_runner(record=whole, work_dir=tmp_path / "whole", seed=7, **options).train()
    stop_workers()
    with pytest.raises(interrupted):
        toy_runner(record=cut, work_dir=tmp_path / "cut", seed=7, **options).train()
    stop_workers()
    toy_runner(record=resumed, work_dir=tmp_path / "cut", seed=7, resume=True, **options).train()
    assert 0 < len(resumed.rows) < len(whole.rows)
    return whole.rows[-len(resumed.rows) :], resumed.rows


@pytest.mark.parametrize(
    ("stop_at", "stop_when", "options"),
    [
        (8, "train", EVERY_5),
        # The checkpoint was saved, the validation after it was not finished.
        (8, "val", EVERY_4),
        (12, "val", EVERY_4),
        # The 10 images give 4 batches, the last of one image: the place is amid a pass, and right at its end.
        (7, "train", DEFAULT | EVERY_5),
        (9, "train", DEFAULT | EVERY_4),
        (6, "train", EPOCHS),
        (8, "val", EPOCHS),
        (7, "train", AMID),
        (9, "train", EPOCHS | {"checkpoint": {"by_epoch": False, "interval": 4}}),
        # 5 iterations end amid the two that make a step.
        (8, "train", EVERY_5 | {"accumulate": 2}),
        (8, "train", EVERY_5 | {"schedule": ONE_CYCLE}),
        (8, "train", EVERY_5 | BY_SHAPE),
        (7, "train", AMID | BY_SHAPE),
    ],
)
def test_losses_and_batches_are_those_of_the_undisturbed_training(
    toy_runner, record_hook, tmp_path, stop_at, stop_when, options, monkeypatch
):
    # mmengine pauses for two seconds where a pass over the images ends.
    monkeypatch.setattr("mmengine.runner.loops.time.sleep", lambda seconds: None)
    whole, resumed = kill_and_resume(toy_runner, record_hook, tmp_path, stop_at, stop_when, **options)
    assert resumed == whole
    if stop_when == "val":
        assert resumed[0] == ("validated", stop_at, 0.5)


def test_a_checkpoint_saved_again_while_validating(toy_runner, record_hook, tmp_path):
    # A new best score is written into the newest checkpoint, when the metric has drawn random numbers.
    best = {"checkpoint": {"interval": 4, "save_best": "toy/score", "rule": "greater"}}
    whole, resumed = kill_and_resume(toy_runner, record_hook, tmp_path, 6, **best)
    assert resumed == whole
    assert resumed[0][0] == 4  # the validation after iteration 4 is not repeated


@pytest.mark.parametrize("options", [EVERY_5, DEFAULT | EVERY_5])
def test_without_the_hook_the_losses_differ(toy_runner, record_hook, tmp_path, options, monkeypatch):
    monkeypatch.setattr("mmengine.runner.loops.time.sleep", lambda seconds: None)
    whole, resumed = kill_and_resume(toy_runner, record_hook, tmp_path, 8, **options, hooks=[])
    assert [row[2] for row in resumed] != [row[2] for row in whole]


@pytest.mark.parametrize("options", [EVERY_5, EPOCHS, AMID])
def test_a_training_without_a_seed_of_its_own_resumes_its_order(toy_runner, record_hook, options):
    record, interrupted = record_hook
    first, second = record(7), record()
    with pytest.raises(interrupted):
        toy_runner(record=first, seed=None, **options).train()
    # This process draws another seed for its sampler before it reads the checkpoint.
    toy_runner(record=second, seed=None, resume=True, **options).train()
    batches = {row[0]: row[1] for row in first.rows + second.rows if row[0] != "validated"}
    stream = [index for iteration in sorted(batches) for index in batches[iteration]]
    # Whole passes over the 10 images, without a repetition where the two trainings meet.
    passes = [sorted(stream[start : start + 10]) for start in (0, 10, 20)]
    assert passes == [list(range(10))] * 3


@pytest.mark.parametrize(("options", "persistent"), [(EVERY_5, False), (AMID, True), (EVERY_5 | BY_SHAPE, True)])
def test_with_workers_the_order_of_the_images_goes_on(toy_runner, record_hook, tmp_path, options, persistent):
    options = options | {"workers": 2, "persistent_workers": persistent}
    whole, resumed = kill_and_resume(toy_runner, record_hook, tmp_path, 7, **options)
    stop_workers()
    assert [row[:2] for row in resumed] == [row[:2] for row in whole]


def test_nothing_is_loaded_to_find_the_place(toy_runner, record_hook, monkeypatch):
    record, interrupted = record_hook
    with pytest.raises(interrupted):
        toy_runner(record=record(9), seed=1, **EVERY_4).train()
    runner = toy_runner(seed=1, resume=True, **EVERY_4)
    loaded = []
    dataset = type(runner._train_dataloader["dataset"])
    load = dataset.__getitem__
    monkeypatch.setattr(dataset, "__getitem__", lambda self, index: loaded.append(index) or load(self, index))
    runner.train()
    # From the checkpoint of iteration 8 on: 4 batches of 3, and the validations after 8 and 12 on 4 images each.
    assert len(loaded) == 4 * 3 + 2 * 4


def test_weights_alone_start_a_training_anew(toy_runner, tmp_path):
    toy_runner(seed=3, work_dir=tmp_path / "first").train()
    runner = toy_runner(seed=4, work_dir=tmp_path / "second", load_from=str(tmp_path / "first/iter_12.pth"))
    runner.train()
    fresh = toy_runner(seed=4, work_dir=tmp_path / "third")
    fresh.train()
    # The images of a fresh training with this seed, with losses of other weights.
    assert [row[1] for row in runner.record.rows] == [row[1] for row in fresh.record.rows]
    assert [row[2] for row in runner.record.rows] != [row[2] for row in fresh.record.rows]


def test_validation_does_not_touch_the_training(toy_runner, tmp_path):
    rows = []
    for interval in (2, 100):
        runner = toy_runner(seed=5, work_dir=tmp_path / str(interval), val_interval=interval)
        runner.train()
        rows.append([row for row in runner.record.rows if row[0] != "validated"])
    assert rows[0] == rows[1]


def test_a_best_checkpoint_has_weights_only(toy_runner, tmp_path):
    toy_runner(checkpoint={"interval": 6, "save_best": "toy/score", "rule": "greater"}).train()
    assert "exact_resume" in load_checkpoint_file(tmp_path / "work/iter_12.pth")
    assert "exact_resume" not in load_checkpoint_file(tmp_path / "work/best_toy_score_iter_4.pth")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hooks": None, "count": 16}, "The checkpoint was saved with 4 batches an epoch, now there are 6"),
        ({"hooks": None}, None),
        ({"without": True}, "The checkpoint was saved without ExactResumeHook"),
    ],
)
def test_what_cannot_be_exact_is_said(toy_runner, record_hook, options, message, caplog):
    record, interrupted = record_hook
    options = dict(options)
    hooks = [] if options.pop("without", False) else None
    with pytest.raises(interrupted):
        toy_runner(record=record(6), seed=1, hooks=hooks, **EVERY_4).train()
    runner = toy_runner(seed=1, resume=True, **EVERY_4, **options)
    said = []
    runner.logger.warning = lambda text, *rest, **more: said.append(text)
    runner.train()
    found = [text for text in said if text.startswith("The checkpoint was saved")]
    assert len(found) == (message is not None)
    assert all(text.startswith(message) for text in found)


def draw() -> list:
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(2).tolist()]


def test_random_states_come_back(tmp_path):
    random.gauss(0, 1), np.random.randn()  # both keep a second value for the next call
    torch.save(capture_random_states(), tmp_path / "states.pth")
    expected = [draw() for _ in range(3)]
    # Plain data: no type needs to be allowed for it.
    restore_random_states(torch.load(tmp_path / "states.pth", weights_only=True))
    assert [draw() for _ in range(3)] == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_random_states_of_the_gpu_come_back():
    states = capture_random_states()
    states["torch"] = states["torch"].cuda()  # as after loading to the GPU
    states["cuda"] = [state.cuda() for state in states["cuda"]]
    expected = torch.rand(3, device="cuda")
    restore_random_states(states)
    assert torch.equal(torch.rand(3, device="cuda"), expected)


def test_configs_find_the_hook_by_name():
    assert isinstance(HOOKS.build({"type": "ExactResumeHook"}), ExactResumeHook)


def train(script, *arguments) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, script, *map(str, arguments)], capture_output=True, text=True)


def read_losses(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "kill_at", "kill_when", "options"),
    [
        ("mask_rcnn", 9, "train", ["--loop", "iter"]),
        ("mask_rcnn", 8, "val", ["--loop", "epoch", "--save-every", "1"]),
        ("upernet", 9, "train", ["--loop", "iter", "--accumulate", "2"]),
        ("upernet", 7, "train", ["--loop", "epoch_by_iter"]),
    ],
)
def test_a_killed_training_of_real_networks(tiny_training, tmp_path, network, kill_at, kill_when, options):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    common = ["--seed", 7, *options]
    done = train(tiny_training, network, whole, *common)
    assert done.returncode == 0, done.stderr
    killed = train(tiny_training, network, cut, *common, "--kill-at", kill_at, "--kill-when", kill_when)
    assert killed.returncode == -signal.SIGKILL
    before = read_losses(cut)
    done = train(tiny_training, network, cut, *common, "--resume")
    assert done.returncode == 0, done.stderr
    resumed, expected = read_losses(cut)[len(before) :], read_losses(whole)
    assert len(resumed) >= 3
    for found, wanted in zip(resumed, expected[-len(resumed) :], strict=True):
        assert found == pytest.approx(wanted, rel=0, abs=1e-6)
    assert resumed[-1]["validated"] == 12
