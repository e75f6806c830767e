"""Training Mask R-CNN and UPerNet through tools/train.py: what it leaves, how it learns, resumes and starts."""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from cellseg.openmmlab import load_checkpoint_file
from cellseg.training import hooks
from cellseg.training.config import read_config
from cellseg.training.curves import read_curves
from cellseg.training.testing import score_checkpoint

PROJECT = Path(__file__).resolve().parents[2]
ITERATIONS = 40
CONFIGS = {name: PROJECT / "configs" / name / f"{name}_small.py" for name in ("mask_rcnn", "upernet")}
SCORES = {"mask_rcnn": ("segm_ap", "segm_ap50"), "upernet": ("foreground_iou", "mean_iou")}
# Losses that fall from the beginning; those of boxes first rise, with the number of boxes that are worth refining.
LEARNT = {
    "mask_rcnn": ("loss_rpn_cls", "loss_cls", "loss_mask"),
    "upernet": ("loss", "decode.loss_ce", "aux.loss_ce"),
}
TINY = [
    "view=(64,64)",
    "batch_size=2",
    f"iterations={ITERATIONS}",
    "warm_up=5",
    "default_hooks.logger.interval=5",
    "default_hooks.checkpoint.interval=10",
    "train_cfg.val_interval=20",
]
pytestmark = pytest.mark.slow


class Killed(BaseException):
    """Ends a training as a signal would: nothing is tidied up."""


@pytest.fixture(scope="module")
def options(discs):
    """Arguments that make the training of a small config tiny."""
    return ["--cfg-options", f"data_root={discs}", *TINY]


@pytest.fixture(scope="module", params=list(CONFIGS))
def trained(request, options, tmp_path_factory):
    """Name of a network, and the work folder of its training, made as a user makes it."""
    folder = tmp_path_factory.mktemp(request.param) / "work"
    command = [sys.executable, "tools/train.py", str(CONFIGS[request.param]), "--work-dir", str(folder), *options]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (folder.parent / "stdout").write_text(done.stdout)
    (folder.parent / "stderr").write_text(done.stderr)
    return request.param, folder


def values(folder, phase, name):
    return {row[0]: row[3] for row in read_curves(folder / "curves.csv") if row[1:3] == (phase, name)}


def test_leaves_what_every_training_leaves(trained):
    name, folder = trained
    best = next(folder.glob("best_*.pth"))
    assert {path.name for path in folder.iterdir()} == {
        "best.pth",
        best.name,
        "config.py",
        "curves.csv",
        f"iter_{ITERATIONS}.pth",
        "last_checkpoint",
        "mmengine.log",
        "tensorboard",
        "train.log",
    }
    published = torch.load(folder / "best.pth", weights_only=True)
    meta = published["meta"]
    assert meta["engine"] == "mmengine" and meta["class_names"] == ["disc", "bar"]
    assert meta["score_name"] == SCORES[name][0]
    scores = values(folder, "val", SCORES[name][0])
    assert meta["score"] == pytest.approx(max(scores.values()), abs=1e-12)
    assert meta["iteration"] == min(step for step, score in scores.items() if score == max(scores.values()))
    source = load_checkpoint_file(best)["state_dict"]
    assert published["state_dict"].keys() == source.keys()
    assert all(torch.equal(value, source[key]) for key, value in published["state_dict"].items())


def test_says_what_it_does_in_lines(trained):
    _, folder = trained
    lines = (folder.parent / "stdout").read_text().splitlines()
    assert lines[:-1] == (folder / "train.log").read_text().splitlines()
    assert re.fullmatch(rf"done: {re.escape(str(folder))}/best.pth \(validation score 0\.\d{{4}}\)", lines[-1])
    assert (folder.parent / "stderr").read_text() == ""


def test_the_score_of_the_validation_can_be_repeated(trained):
    name, folder = trained
    result = score_checkpoint(folder / "config.py", folder / "best.pth", "val")
    assert set(result.scores) == set(SCORES[name]) and result.images == 4
    meta = torch.load(folder / "best.pth", weights_only=True)["meta"]
    assert result.scores[SCORES[name][0]] == pytest.approx(meta["score"], abs=1e-6)


def test_the_losses_fall(trained):
    name, folder = trained
    for loss in LEARNT[name]:
        curve = values(folder, "train", loss)
        assert list(curve) == list(range(5, ITERATIONS + 1, 5))
        ordered = list(curve.values())
        assert sum(ordered[-2:]) < 0.85 * sum(ordered[:2]), (loss, ordered)


def test_the_curves_are_complete(trained):
    name, folder = trained
    rows = read_curves(folder / "curves.csv")
    assert len(rows) == len({row[:3] for row in rows})
    for score in SCORES[name]:
        assert list(values(folder, "val", score)) == [20, 40]
    expected = {
        "mask_rcnn": {"loss", "loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox", "loss_mask", "lr"},
        "upernet": {"loss", "decode.loss_ce", "aux.loss_ce", "lr"},
    }
    assert {row[2] for row in rows if row[1] == "train"} == expected[name]


def test_the_config_that_it_leaves_repeats_the_training(trained, tmp_path, train_tool):
    _, folder = trained
    config = read_config(folder / "config.py")
    assert config.train_cfg.max_iters == ITERATIONS and config.class_names == ["disc", "bar"]
    assert not re.search(r"'\{\w+\}'", (folder / "config.py").read_text())
    code, _, err = train_tool(folder / "config.py", "--work-dir", tmp_path / "again")
    assert (code, err) == (0, "")
    assert read_curves(tmp_path / "again" / "curves.csv") == read_curves(folder / "curves.csv")


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(trained, options, tmp_path, train_tool, monkeypatch):
    name, folder = trained
    original = hooks.TrainingLogHook.after_train_iter

    def die_after_27(self, runner, *arguments, **more):
        original(self, runner, *arguments, **more)
        if runner.iter == 26:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(hooks.TrainingLogHook, "after_train_iter", die_after_27)
        with pytest.raises(Killed):
            train_tool(CONFIGS[name], "--work-dir", tmp_path / "w", *options)
    assert (tmp_path / "w" / "last_checkpoint").read_text().endswith("iter_20.pth")
    assert list(values(tmp_path / "w", "train", "loss"))[-1] == 25
    assert not (tmp_path / "w" / "best.pth").exists()
    moved = (tmp_path / "w").rename(tmp_path / "moved")
    code, _, err = train_tool(CONFIGS[name], "--work-dir", moved, "--resume", *options)
    assert (code, err) == (0, "") and not (tmp_path / "w").exists()
    resumed, undisturbed = (read_curves(path / "curves.csv") for path in (moved, folder))
    assert [row[:3] for row in resumed] == [row[:3] for row in undisturbed]
    assert [row[3] for row in resumed] == pytest.approx([row[3] for row in undisturbed], rel=1e-6, abs=1e-9)
    found, expected = (torch.load(path / "best.pth", weights_only=True) for path in (moved, folder))
    for key, value in expected["state_dict"].items():
        torch.testing.assert_close(found["state_dict"][key], value, rtol=1e-5, atol=1e-6)


def test_a_finished_training_resumes_to_its_result(trained, options, train_tool):
    name, folder = trained
    before = read_curves(folder / "curves.csv")
    code, out, err = train_tool(CONFIGS[name], "--work-dir", folder, "--resume", *options)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == (folder.parent / "stdout").read_text().splitlines()[-1]
    assert read_curves(folder / "curves.csv") == before


def test_a_training_that_is_killed_can_be_resumed(options, tmp_path, train_tool):
    command = [sys.executable, "tools/train.py", str(CONFIGS["upernet"]), "--work-dir", str(tmp_path / "w"), *options]
    process = subprocess.Popen(
        [*command, "iterations=4000", "train_cfg.val_interval=4000"],
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 240
    while not (tmp_path / "w" / "iter_30.pth").is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    reached = int(re.search(r"iter_(\d+)\.pth", (tmp_path / "w" / "last_checkpoint").read_text())[1])
    settings = [*options, f"iterations={reached + 10}"]
    code, out, err = train_tool(CONFIGS["upernet"], "--work-dir", tmp_path / "w", "--resume", *settings)
    assert (code, err) == (0, "")
    assert list(values(tmp_path / "w", "train", "loss")) == list(range(5, reached + 11, 5))
    assert torch.load(tmp_path / "w" / "best.pth", weights_only=True)["meta"]["iteration"] == reached + 10


@pytest.fixture
def barely_moving(options):
    """Settings with which a training keeps its first weights."""
    return [*options, "iterations=2", "warm_up=1", "learning_rate=1e-12", "optim_wrapper.optimizer.weight_decay=0"]


def test_starts_from_given_weights(trained, barely_moving, tmp_path, train_tool):
    name, folder = trained
    weights = torch.load(folder / "best.pth", weights_only=True)["state_dict"]
    head = "roi_head.bbox_head.fc_cls" if name == "mask_rcnn" else "decode_head.conv_seg"
    weights = {key: value for key, value in weights.items() if not key.startswith(head)}
    torch.save({"state_dict": weights}, tmp_path / "start.pth")
    code, _, _ = train_tool(
        CONFIGS[name], "--work-dir", tmp_path / "w", "--pretrained", tmp_path / "start.pth", *barely_moving
    )
    assert code == 0
    final = torch.load(tmp_path / "w" / "best.pth", weights_only=True)["state_dict"]
    for key, value in weights.items():
        torch.testing.assert_close(final[key], value, rtol=1e-5, atol=1e-7)
    log = (tmp_path / "w" / "train.log").read_text()
    assert log.startswith(f"{tmp_path}/start.pth: {len(weights)} of {len(final)} weights loaded; ")
    assert f"without a fitting one and random at first: {head}.weight, {head}.bias\n" in log


def test_unsafe_load_is_about_the_given_weights(trained, barely_moving, tmp_path, train_tool):
    name, folder = trained
    weights = torch.load(folder / "best.pth", weights_only=True)["state_dict"]
    torch.save({"state_dict": weights, "author": argparse.Namespace(name="x")}, tmp_path / "start.pth")
    command = [CONFIGS[name], "--work-dir", tmp_path / "w", "--pretrained", tmp_path / "start.pth"]
    code, _, err = train_tool(*command, *barely_moving)
    assert code == 2 and "start.pth: refused, because it holds more than weights" in err
    assert train_tool(*command, "--overwrite", "--unsafe-load", *barely_moving)[0] == 0
    final = torch.load(tmp_path / "w" / "best.pth", weights_only=True)["state_dict"]
    torch.testing.assert_close(final[next(iter(weights))], next(iter(weights.values())), rtol=1e-5, atol=1e-7)


def test_starts_from_a_bare_backbone(trained, barely_moving, tmp_path, train_tool):
    name, folder = trained
    whole = torch.load(folder / "best.pth", weights_only=True)["state_dict"]
    bare = {key.removeprefix("backbone."): value for key, value in whole.items() if key.startswith("backbone.")}
    torch.save(bare | {"fc.weight": torch.rand(1000, 512)}, tmp_path / "resnet.pth")
    code, _, _ = train_tool(
        CONFIGS[name], "--work-dir", tmp_path / "w", "--pretrained", tmp_path / "resnet.pth", *barely_moving
    )
    assert code == 0
    final = torch.load(tmp_path / "w" / "best.pth", weights_only=True)["state_dict"]
    for key, value in bare.items():
        torch.testing.assert_close(final[f"backbone.{key}"], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"state_dict": {"stem.weight": torch.rand(2)}}, "--pretrained: none of its weights fits this network by name"),
        (
            {"state_dict": {"backbone.conv1.weight": torch.rand(2)}},
            "--pretrained: none of its weights fits this network",
        ),
        ([torch.rand(2)], "--pretrained: none of its weights fits this network by name and shape"),
    ],
)
def test_weights_of_something_else_are_refused(options, tmp_path, train_tool, weights, message):
    torch.save(weights, tmp_path / "other.pth")
    code, _, err = train_tool(
        CONFIGS["upernet"], "--work-dir", tmp_path / "w", "--pretrained", tmp_path / "other.pth", *options
    )
    assert code == 2 and f"error: {tmp_path}/other.pth: {message}" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("model.backbone.depht=18", "unexpected keyword argument 'depht'"),
        ("model.type=EncoderDecodr", "EncoderDecodr is not in the mmseg::model registry"),
        ("train_dataloader.dataset.split=tran", "split 'tran' is not one of train, val, test, all"),
        ("optim_wrapper.type=OptimWraper", "OptimWraper is not in the"),
        ("param_scheduler.0.typ=3", "unexpected keyword argument 'typ'"),
        ("iterations=5", "iterations = 5: should be more than warm_up = 5"),
    ],
)
def test_mistakes_in_a_config_are_one_line(options, tmp_path, train_tool, option, message):
    code, _, err = train_tool(CONFIGS["upernet"], "--work-dir", tmp_path / "w", *options, option)
    assert code == 2 and err.count("\n") == 1 and message in err, err


def test_a_diverging_training_says_what_to_do(options, tmp_path, train_tool):
    option = "model.decode_head.loss_decode.loss_weight=1e39"
    code, _, err = train_tool(CONFIGS["upernet"], "--work-dir", tmp_path / "w", *options, option)
    assert code == 2 and err.count("\n") == 1
    assert re.search(r"error: iteration 1: the loss is not finite \(.*\); lower learning_rate or clip gradients", err)


def test_workers_load_the_same_images(options, tmp_path, train_tool):
    for workers in (0, 1):
        settings = [*options, f"workers={workers}", "iterations=2", "warm_up=1", "default_hooks.logger.interval=1"]
        code, _, err = train_tool(CONFIGS["upernet"], "--work-dir", tmp_path / str(workers), *settings)
        assert (code, err) == (0, "")
        config = Config.fromfile(str(tmp_path / str(workers) / "config.py"))
        assert config.train_dataloader.num_workers == workers
    assert all(len(values(tmp_path / str(workers), "train", "loss")) == 2 for workers in (0, 1))
