"""Training UPerNet on crops of boxes: its configs, what an iteration sees, learning, resuming, mistakes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cellseg.datasets.box_crops import IGNORED, BoxCropDataset
from cellseg.openmmlab import scope
from cellseg.training import hooks
from cellseg.training.config import load_config, read_config
from cellseg.training.curves import read_curves
from cellseg.training.mmengine_engine import build_runner

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "upernet"
SMALL = FOLDER / "upernet_crops_small.py"
# The large network has 60 million weights: a step takes seconds.
CONFIGS = ["upernet_crops_small", pytest.param("upernet_crops_r50", marks=pytest.mark.slow)]
REDUCED = dict(crop_size=32, batch_size=2, crops_per_image=3, workers=0)


class Killed(BaseException):
    """Ends a training as a signal would: nothing is tidied up."""


def values_of(value, key):
    """Every value that stands under ``key`` anywhere in a config."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name == key:
                yield item
            yield from values_of(item, key)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from values_of(item, key)


@pytest.mark.parametrize("name", ["upernet_crops_small", "upernet_crops_r50"])
def test_no_downloads_nothing_frozen_three_classes(name, discs):
    config = load_config(FOLDER / f"{name}.py", {"data_root": str(discs)})
    model = config.model.to_dict()
    assert not [value for key in ("init_cfg", "pretrained", "checkpoint") for value in values_of(model, key) if value]
    assert set(values_of(model, "frozen_stages")) == {-1}
    assert set(values_of(model, "norm_eval")) == {False}
    assert {norm["type"] for norm in values_of(model, "norm_cfg")} <= {"BN", "GN"}
    assert list(values_of(model, "num_classes")) == [3, 3]
    # Probabilities that a vote can use: no class counts more than another.
    assert not [value for value in values_of(model, "class_weight") if value]
    preprocessor = model["data_preprocessor"]
    assert (preprocessor["mean"], preprocessor["std"], preprocessor["bgr_to_rgb"]) == ([70.0] * 3, [40.0] * 3, False)
    assert [hook["type"] for hook in config.custom_hooks] == ["ExactResumeHook"]


@pytest.mark.parametrize("name", ["upernet_crops_small", "upernet_crops_r50"])
def test_training_validation_and_score_see_the_same_crops(name, discs):
    options = dict(data_root=str(discs), crop_margin=0.4, box_scale=[0.9, 1.1], box_shift=0.05)
    config = load_config(FOLDER / f"{name}.py", options)
    for part in (config.train_dataloader.dataset, config.val_dataloader.dataset):
        assert (part.size, part.margin) == (config.crop_size, 0.4)
        assert (list(part.scale), part.shift) == ([0.9, 1.1], 0.05)
    assert config.val_evaluator.margin == 0.4
    assert config.crop_size == (64 if name.endswith("small") else 128)
    assert config.train_dataloader.dataset.get("seed") is None and config.val_dataloader.dataset.seed == 0
    assert config.val_dataloader.dataset.turn is False and config.train_dataloader.dataset.get("turn", True)
    # The modules of every training stay, whatever they are.
    base = read_config(FOLDER.parent / "_base_" / "runtime.py").custom_imports.imports
    own = config.custom_imports.imports
    assert own == [*base, "cellseg.datasets.box_crops", "cellseg.training.evaluators_crops"]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_step_of_training(name, discs, tmp_path):
    config = load_config(FOLDER / f"{name}.py", REDUCED | {"data_root": str(discs)})
    runner = build_runner(config, tmp_path, resume=False, amp=False, launcher="none")
    runner.model.init_weights()
    before = {key: value.clone() for key, value in runner.model.named_parameters()}
    with scope("mmseg"):
        batch = next(iter(runner.train_loop.dataloader))
        assert [tuple(crop.shape) for crop in batch["inputs"]] == [(3, 32, 32)] * 6
        keys = [sample.key for sample in batch["data_samples"]]
        assert keys[:3] == keys[:1] * 3 and keys[3:] == keys[3:4] * 3 and keys[0] != keys[3]
        logged = runner.model.train_step(batch, runner.optim_wrapper)
    losses = {key: float(value.detach()) for key, value in logged.items() if "loss" in key}
    assert set(losses) == {"loss", "decode.loss_ce", "aux.loss_ce"}
    assert all(0 < value < 100 for value in losses.values()), losses
    changed = {key for key, value in runner.model.named_parameters() if not torch.equal(value, before[key])}
    parts = {key.partition(".")[0] for key in before}
    assert parts == {"backbone", "decode_head", "auxiliary_head"}
    assert {key.partition(".")[0] for key in changed} == parts


def test_pixels_outside_the_image_teach_nothing(discs, tmp_path):
    config = load_config(SMALL, REDUCED | {"data_root": str(discs)})
    runner = build_runner(config, tmp_path, resume=False, amp=False, launcher="none")
    runner.model.init_weights()
    batch = next(iter(runner.train_loop.dataloader))
    for sample in batch["data_samples"]:
        sample.gt_sem_seg.data[:, :, :16] = IGNORED
    with scope("mmseg"), torch.no_grad():
        data = runner.model.data_preprocessor(batch, True)
        found = runner.model.loss(**data)["decode.loss_ce"]
        logits = runner.model.encode_decode(data["inputs"], [dict(ori_shape=(32, 32), img_shape=(32, 32))])
    truth = torch.stack([sample.gt_sem_seg.data[0] for sample in batch["data_samples"]])
    seen = truth != IGNORED
    assert not seen[:, :, :16].any() and seen[:, :, 16:].any()
    likelihood = logits.softmax(dim=1).gather(1, torch.where(seen, truth, 0)[:, None])[:, 0][seen]
    assert float(found) == pytest.approx(float(-likelihood.log().mean()), rel=1e-4)


@pytest.fixture
def tiny(discs):
    """Options of a training of four iterations."""
    options = dict(REDUCED, data_root=discs, iterations=4, warm_up=2, val_crops_per_image=2)
    options |= {"train_cfg.val_interval": 2, "default_hooks.logger.interval": 1, "default_hooks.checkpoint.interval": 2}
    return ["--cfg-options", *(f"{key}={value}" for key, value in options.items())]


def test_trains_resumes_and_leaves_what_every_training_leaves(tiny, tmp_path, train_tool, monkeypatch):
    code, out, err = train_tool(SMALL, "--work-dir", tmp_path / "whole", *tiny)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].startswith(f"done: {tmp_path}/whole/best.pth (validation score 0.")
    original = hooks.TrainingLogHook.after_train_iter

    def die_after_3(self, runner, *arguments, **more):
        original(self, runner, *arguments, **more)
        if runner.iter == 2:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(hooks.TrainingLogHook, "after_train_iter", die_after_3)
        with pytest.raises(Killed):
            train_tool(SMALL, "--work-dir", tmp_path / "killed", *tiny)
    assert not (tmp_path / "killed" / "best.pth").exists()
    code, _, err = train_tool(SMALL, "--work-dir", tmp_path / "killed", "--resume", *tiny)
    assert (code, err) == (0, "")
    undisturbed, resumed = (read_curves(tmp_path / name / "curves.csv") for name in ("whole", "killed"))
    assert [row[:3] for row in resumed] == [row[:3] for row in undisturbed]
    assert [row[3] for row in resumed] == pytest.approx([row[3] for row in undisturbed], rel=1e-6, abs=1e-9)
    for name in ("central_iou", "ellipse_iou"):
        assert [row[0] for row in undisturbed if row[1:3] == ("val", name)] == [2, 4]
    ellipse = {row[3] for row in undisturbed if row[2] == "ellipse_iou"}
    assert len(ellipse) == 1, "validation shows the same crops each time"
    published = torch.load(tmp_path / "whole" / "best.pth", weights_only=True)
    assert published["meta"]["score_name"] == "central_iou" and published["meta"]["class_names"] == ["disc", "bar"]


@pytest.mark.slow
def test_learns_more_than_the_shape_of_a_box(discs, tmp_path, train_tool):
    options = [f"data_root={discs}", "crop_size=48", "batch_size=2", "iterations=80", "warm_up=10"]
    options += ["train_cfg.val_interval=80", "val_crops_per_image=8"]
    code, _, err = train_tool(SMALL, "--work-dir", tmp_path / "w", "--cfg-options", *options)
    assert (code, err) == (0, "")
    scores = {row[2]: row[3] for row in read_curves(tmp_path / "w" / "curves.csv") if row[1] == "val"}
    assert scores["central_iou"] > 0.85 > scores["ellipse_iou"] + 0.1, scores


@pytest.mark.slow
def test_workers_draw_crops_of_their_own(discs, tmp_path):
    config = load_config(SMALL, REDUCED | {"data_root": str(discs), "workers": 2})
    runner = build_runner(config, tmp_path, resume=False, amp=False, launcher="none")
    batches = runner.train_loop.dataloader_iterator  # a second iterator would end the infinite sampler of the first
    crops = torch.stack([crop for _ in range(8) for crop in next(batches)["inputs"]])
    assert len(crops) == 48 and len(torch.unique(crops.flatten(1), dim=0)) == 48


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("crop_size=4", "size = 4: expected a whole number of at least 8"),
        ("crop_margin=-1", "margin = -1: expected a number from 0 to 10"),
        ("crops_per_image=0", "crops_per_image = 0: expected a whole number of at least 1"),
        ("val_crops_per_image=0", "crops_per_image = 0: expected a whole number of at least 1"),
        ("box_scale=[2,1]", "scale = [2, 1]: expected two numbers above 0, the smaller one first"),
        ("box_shift=0.9", "shift = 0.9: expected a number from 0 to 0.5"),
        ("train_dataloader.dataset.jitter=3", "unexpected keyword argument 'jitter'"),
    ],
)
def test_mistakes_are_one_line(tiny, tmp_path, train_tool, option, message):
    code, _, err = train_tool(SMALL, "--work-dir", tmp_path / "w", *tiny, option)
    assert code == 2 and err.count("\n") == 1 and message in err, err


def test_one_read_serves_all_crops_of_an_image(discs, monkeypatch):
    from cellseg.datasets import transforms

    reads = []
    original = transforms.read_image
    monkeypatch.setattr(transforms, "read_image", lambda path: reads.append(path) or original(path))
    dataset = BoxCropDataset(discs, 0, "train", [], size=32, crops_per_image=12)
    dataset.pipeline = lambda crop: crop["img"]
    np.random.seed(0)
    assert len(dataset[1]) == 12 and len(reads) == 1
