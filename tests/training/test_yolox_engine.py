"""Training through the yolox package: what it leaves, how it resumes, what it refuses."""

import argparse
import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from cellseg.errors import CellsegError, InputError
from cellseg.models.yolox.checkpoints import load_state, save_state
from cellseg.models.yolox.exp import CellExp
from cellseg.training.curves import read_curves
from cellseg.training.testing import score_checkpoint
from cellseg.training.yolox_engine import train

write_disc_folder = runpy.run_path(str(Path(__file__).parents[1] / "models" / "disc_folder.py"))["write_disc_folder"]
TINY = dict(
    width=0.125,
    strides=(4, 8, 16),
    image_scale=1.0,
    input_size=(96, 96),
    batch_size=4,
    max_epoch=3,
    warmup_epochs=1,
    no_aug_epochs=1,
    eval_interval=2,
    print_interval=2,
    optimizer="adamw",
    basic_lr_per_img=5e-4,
    norm_momentum=0.1,
)


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    return write_disc_folder(tmp_path_factory.mktemp("discs"))


def config(data_root, **exp):
    return Config(dict(engine="yolox", data_root=str(data_root), fold=0, exp={**TINY, **exp}))


@pytest.fixture(scope="module")
def trained(data_root, tmp_path_factory):
    """A training of three epochs: its result and folder, with the streams before and after."""
    work_dir = tmp_path_factory.mktemp("trained")
    streams = sys.stdout, sys.stderr
    result = train(config(data_root), work_dir)
    assert (sys.stdout, sys.stderr) == streams
    return result, work_dir


def values(work_dir, phase, name):
    return {row[0]: row[3] for row in read_curves(work_dir / "curves.csv") if row[1:3] == (phase, name)}


def test_leaves_what_every_training_leaves(trained):
    result, work_dir = trained
    names = {path.name for path in work_dir.iterdir()}
    assert names == {"best.pth", "curves.csv", "latest_ckpt.pth", "tensorboard", "train.log"}
    assert result["best_checkpoint"] == work_dir / "best.pth"
    assert result["iteration"] == 6
    best = torch.load(work_dir / "best.pth", weights_only=True)
    meta = best["meta"]
    assert meta["engine"] == "yolox" and meta["class_names"] == ["disc", "bar"]
    assert meta["score"] == result["best_score"] and isinstance(meta["score"], float)
    assert meta["iteration"] in (4, 6)
    assert {"torch", "yolox"} <= set(meta["versions"])
    assert meta["shape_prior"].shape == (2, 32, 32)
    # A bar fills its box, a disc does not reach the corners.
    assert meta["shape_prior"][1].min() > 0.95 > 0.3 > meta["shape_prior"][0, 0, 0]
    assert all(value.device.type == "cpu" for value in best["state_dict"].values())


def test_logs_losses_and_scores(trained):
    _, work_dir = trained
    for name in ("loss", "loss_box", "loss_objectness", "loss_class", "loss_l1", "lr"):
        assert list(values(work_dir, "train", name)) == [2, 4, 6]
    assert list(values(work_dir, "val", "bbox_ap")) == [4, 6]
    log = (work_dir / "train.log").read_text()
    assert "train 2/6" in log and "val   6/6" in log
    assert list((work_dir / "tensorboard").iterdir())


def test_the_score_of_the_validation_can_be_repeated(trained, data_root, tmp_path):
    result, work_dir = trained
    config(data_root).dump(tmp_path / "config.py")
    again = score_checkpoint(tmp_path / "config.py", work_dir / "best.pth", "val")
    assert again.scores["bbox_ap"] == pytest.approx(result["best_score"], abs=1e-9) and again.images == 4


def test_l1_loss_joins_when_mosaic_ends(trained):
    curve = values(trained[1], "train", "loss_l1")
    assert curve[2] == curve[4] == 0 < curve[6]


def test_training_state_is_safe_to_load(trained):
    state = torch.load(trained[1] / "latest_ckpt.pth", weights_only=True)
    assert state["epoch"] == 3
    assert type(state["best_ap"]) is float
    averaged, own = state["model"], state["network"]
    assert averaged.keys() == own.keys()
    assert any(not torch.equal(averaged[name], own[name]) for name in own)


def test_same_seed_same_weights(trained, data_root, tmp_path):
    train(config(data_root), tmp_path / "again")
    assert (tmp_path / "again" / "best.pth").read_bytes() == (trained[1] / "best.pth").read_bytes()
    assert (tmp_path / "again" / "curves.csv").read_text() == (trained[1] / "curves.csv").read_text()


def test_another_seed_other_weights(trained, data_root, tmp_path):
    train(config(data_root, seed=1), tmp_path / "other")
    assert values(tmp_path / "other", "train", "loss") != values(trained[1], "train", "loss")


def test_resumed_training_ends_like_the_undisturbed_one(trained, data_root, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def kill_in_third_epoch(self):
        if self.epoch == 2:
            raise Killed
        original(self)

    from cellseg.models.yolox.trainer import CellTrainer

    original = CellTrainer.before_iter
    with monkeypatch.context() as patch:
        patch.setattr(CellTrainer, "before_iter", kill_in_third_epoch)
        with pytest.raises(Killed):
            train(config(data_root), tmp_path)
    assert torch.load(tmp_path / "latest_ckpt.pth", weights_only=True)["epoch"] == 2
    assert list(values(tmp_path, "train", "loss")) == [2, 4]
    result = train(config(data_root), tmp_path, resume=True)
    assert result["best_score"] == trained[0]["best_score"]
    for phase, name in (("train", "loss"), ("train", "lr"), ("val", "bbox_ap")):
        assert values(tmp_path, phase, name) == pytest.approx(values(trained[1], phase, name), rel=1e-6)
    own, expected = (load_state(folder / "latest_ckpt.pth") for folder in (tmp_path, trained[1]))
    for part in ("network", "model"):
        for key, value in expected[part].items():
            torch.testing.assert_close(own[part][key], value, rtol=1e-6, atol=1e-7)


def test_a_finished_training_resumes_to_its_result(trained, data_root):
    result, work_dir = trained
    assert train(config(data_root), work_dir, resume=True) == result


def test_pretrained_weights_are_loaded_and_the_misfits_named(trained, data_root, tmp_path):
    weights = load_state(trained[1] / "best.pth")["state_dict"]
    weights = {name: value for name, value in weights.items() if "cls_preds" not in name}
    save_state(tmp_path / "start.pth", {"model": weights})
    settings = dict(basic_lr_per_img=1e-12, norm_momentum=1e-9)
    train(config(data_root, **settings), tmp_path / "fine", pretrained=tmp_path / "start.pth")
    final = load_state(tmp_path / "fine" / "latest_ckpt.pth")["network"]
    torch.testing.assert_close(final["head.stems.0.conv.weight"], weights["head.stems.0.conv.weight"])
    log = (tmp_path / "fine" / "train.log").read_text()
    assert "random at first" in log and "head.cls_preds.0.weight" in log and "head.stems" not in log


def test_a_file_that_holds_more_than_weights_needs_the_users_word(trained, data_root, tmp_path):
    weights = load_state(trained[1] / "best.pth")["state_dict"]
    torch.save({"model": weights, "author": argparse.Namespace(name="x")}, tmp_path / "start.pth")
    with pytest.raises(InputError, match=r"start\.pth: refused, because it holds more than weights.*use --unsafe-load"):
        train(config(data_root), tmp_path / "no", pretrained=tmp_path / "start.pth")
    settings = dict(basic_lr_per_img=1e-12, norm_momentum=1e-9)
    train(config(data_root, **settings), tmp_path / "yes", pretrained=tmp_path / "start.pth", unsafe_load=True)
    final = load_state(tmp_path / "yes" / "latest_ckpt.pth")["network"]
    torch.testing.assert_close(final["head.stems.0.conv.weight"], weights["head.stems.0.conv.weight"])


def test_without_moving_average_and_with_history(data_root, tmp_path):
    settings = dict(ema=False, save_history_ckpt=True, optimizer="sgd", eval_interval=1)
    train(config(data_root, **settings), tmp_path)
    assert {path.name for path in tmp_path.glob("*_ckpt.pth")} == {
        "epoch_1_ckpt.pth",
        "epoch_2_ckpt.pth",
        "epoch_3_ckpt.pth",
        "latest_ckpt.pth",
    }
    last = load_state(tmp_path / "latest_ckpt.pth")
    assert "model" not in last
    best = load_state(tmp_path / "best.pth")
    kept = load_state(tmp_path / f"epoch_{best['meta']['iteration'] // 2}_ckpt.pth")["network"]
    assert all(torch.equal(value, kept[name]) for name, value in best["state_dict"].items())


def test_growing_input(data_root, tmp_path):
    exp = CellExp(
        {**TINY, "input_size": (192, 256), "grow_epochs": 2, "start_size": (64, 96), "max_epoch": 5},
        data_root,
        0,
        tmp_path,
    )
    sizes = [exp.size_at(iteration, 50) for iteration in range(0, 250, 10)]
    assert sizes[0] == (64, 96) and sizes[10:] == [(192, 256)] * 15
    growing = sizes[:11]
    assert growing == sorted(growing) and len(set(growing)) >= 4
    assert all(side % 32 == 0 for size in sizes for side in size)


def test_multiscale_varies_around_the_input_size_and_can_be_repeated(data_root, tmp_path):
    exp = CellExp({**TINY, "input_size": (192, 192), "multiscale_range": 2}, data_root, 0, tmp_path)
    sizes = [exp.size_at(iteration, 50) for iteration in range(0, 1000, 10)]
    assert set(sizes) == {(side, side) for side in (128, 160, 192, 224, 256)}
    assert sizes == [exp.size_at(iteration, 50) for iteration in range(0, 1000, 10)]


def test_the_trainer_takes_the_sizes(data_root, tmp_path, monkeypatch):
    from yolox.models import YOLOX

    seen = []
    forward = YOLOX.forward

    def spy(self, x, targets=None):
        if self.training:
            seen.append(tuple(x.shape[2:]))
        return forward(self, x, targets)

    monkeypatch.setattr(YOLOX, "forward", spy)
    settings = dict(grow_epochs=10, start_size=(32, 32), max_epoch=12, eval_interval=12)
    train(config(data_root, **settings), tmp_path)
    assert seen == [(32, 32)] * 10 + [(64, 64)] * 10 + [(96, 96)] * 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(exp=dict(max_epochs=3)), "exp: unknown setting 'max_epochs'; the nearest known one is 'max_epoch'"),
        (dict(exp=None), "a config of the yolox engine needs 'exp'"),
        (dict(data_root=None), "a config of the yolox engine needs 'data_root'"),
        (dict(fold=7), "fold 7 does not exist"),
    ],
)
def test_bad_configs_are_refused(data_root, tmp_path, change, message):
    parts = dict(engine="yolox", data_root=str(data_root), fold=0, exp=TINY) | change
    with pytest.raises(InputError, match=message):
        train(Config({name: value for name, value in parts.items() if value is not None}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_resume_without_a_checkpoint(data_root, tmp_path):
    with pytest.raises(InputError, match="--resume: no checkpoint to continue from"):
        train(config(data_root), tmp_path, resume=True)


def test_resume_with_another_network(trained, data_root, tmp_path):
    (tmp_path / "latest_ckpt.pth").write_bytes((trained[1] / "latest_ckpt.pth").read_bytes())
    with pytest.raises(InputError, match=r"latest_ckpt\.pth: --resume: does not fit the network and optimizer"):
        train(config(data_root, width=0.25), tmp_path, resume=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="only machines without CUDA refuse")
def test_amp_needs_cuda(data_root, tmp_path):
    with pytest.raises(InputError, match="--amp: mixed precision needs a CUDA device"):
        train(config(data_root), tmp_path, amp=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="only machines without CUDA refuse")
def test_slurm_needs_cuda(data_root, tmp_path):
    with pytest.raises(InputError, match="--launcher slurm: needs CUDA devices"):
        train(config(data_root), tmp_path, launcher="slurm")


def test_diverging_training_says_so_and_gives_the_streams_back(data_root, tmp_path):
    streams = sys.stdout, sys.stderr
    with pytest.raises(CellsegError, match=r"iteration \d+: the loss is not finite; lower exp.basic_lr_per_img"):
        train(config(data_root, basic_lr_per_img=1e30, warmup_lr=1e30, optimizer="sgd"), tmp_path)
    assert (sys.stdout, sys.stderr) == streams


def test_workers_do_not_change_the_samples(trained, data_root, tmp_path):
    train(config(data_root, data_num_workers=1), tmp_path)
    assert values(tmp_path, "train", "loss") == pytest.approx(values(trained[1], "train", "loss"), rel=1e-5)


@pytest.mark.slow
def test_two_processes_train_together(data_root, tmp_path):
    script = (
        "import sys; from pathlib import Path; from mmengine.config import Config;"
        "from cellseg.training.yolox_engine import train;"
        "train(Config.fromfile(sys.argv[1]), Path(sys.argv[2]), launcher='pytorch')"
    )
    config(data_root).dump(tmp_path / "config.py")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", script, str(tmp_path / "config.py"), str(tmp_path / "work")],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": str(port)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=800)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert "train 2/6" in outputs[0] and outputs[1] == ""
    assert load_state(tmp_path / "work" / "best.pth")["meta"]["iteration"] in (4, 6)


@pytest.mark.slow
def test_learns_to_find_discs_and_bars(tmp_path):
    root = write_disc_folder(tmp_path / "data", train=16, val=6)
    exp = dict(width=0.25, max_epoch=50, no_aug_epochs=10, eval_interval=50, basic_lr_per_img=5e-4, batch_size=4)
    result = train(config(root, **exp), tmp_path / "work")
    curve = values(tmp_path / "work", "train", "loss_box")
    assert curve[max(curve)] < 0.7 * curve[min(curve)]
    assert result["best_score"] > 0.4
    assert values(tmp_path / "work", "val", "bbox_ap50")[200] > 0.8
