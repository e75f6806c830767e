"""Every training config of the project: it can be built, takes a step, and has no limits or downloads."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from cellseg.openmmlab import scope
from cellseg.training.config import load_config
from cellseg.training.door import train
from cellseg.training.mmengine_engine import build_runner

FOLDER = Path(__file__).resolve().parents[2] / "configs"
# Recipes are no training configs; those of the feature fusion need a trained ensemble, and have tests of their own
# (tests/ensemble/feature_fusion/test_training.py).
OTHERS = ("_base_", "ensemble", "feature_fusion", "recipes")
PATHS = sorted(path for path in FOLDER.glob("*/*.py") if path.parent.name not in OTHERS and path.stem != "ensemble")
NAMES = [f"{path.parent.name}/{path.stem}" for path in PATHS]
# These have 40 million weights and more: a step takes seconds.
LARGE = ("mask_rcnn/mask_rcnn_r50", "mask_rcnn/mask_rcnn_resnest50", "upernet/upernet_r50", "yolox/yolox_s")
REDUCED = dict(view=(96, 96), magnification=1.0, batch_size=2, workers=0)


def engine_of(path: Path) -> str:
    return Config.fromfile(str(path), import_custom_modules=False).engine


MMENGINE = [name for name, path in zip(NAMES, PATHS, strict=True) if engine_of(path) == "mmengine"]
# Crops of boxes and the fusion of features have options, and tests, of their own (test_crop_training.py,
# test_fusion_training.py).
MAPS = [name for name in MMENGINE if "crops" not in name and "fusion" not in name]
YOLOX = [name for name, path in zip(NAMES, PATHS, strict=True) if engine_of(path) == "yolox"]


def marked(names):
    return [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in names]


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


def test_the_standard_configs_are_there():
    assert set(LARGE) | {"mask_rcnn/mask_rcnn_small", "upernet/upernet_small"} <= set(NAMES)
    assert set(MMENGINE) | set(YOLOX) == set(NAMES)


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_the_first_line_says_what_it_trains(path):
    head = path.read_text().partition("\n_base_")[0]
    assert head.startswith("# ") and head.count("\n") <= 2
    assert any(name in head for name in ("Mask R-CNN", "UPerNet", "YOLOX", "eature fusion")), head


@pytest.mark.parametrize("name", MAPS)
def test_no_downloads_no_limits_nothing_frozen(name, discs):
    config = load_config(FOLDER / f"{name}.py", {"data_root": str(discs)})
    model = config.model.to_dict() if hasattr(config.model, "to_dict") else dict(config.model)
    assert not [value for key in ("init_cfg", "pretrained", "checkpoint") for value in values_of(model, key) if value]
    assert set(values_of(model, "frozen_stages")) == {-1}
    assert set(values_of(model, "norm_eval")) == {False}
    assert {norm["type"] for norm in values_of(model, "norm_cfg")} <= {"BN", "GN"}
    assert set(values_of(model, "num_classes")) == {2 if config.default_scope == "mmdet" else 4}
    preprocessor = model["data_preprocessor"]
    assert (preprocessor["mean"], preprocessor["std"], preprocessor["bgr_to_rgb"]) == ([70.0] * 3, [40.0] * 3, False)
    assert min(values_of(model["test_cfg"], "max_per_img"), default=2000) >= 2000
    assert min(values_of(model["test_cfg"], "nms_pre"), default=2000) >= 2000
    assert [hook["type"] for hook in config.custom_hooks] == ["ExactResumeHook"]


@pytest.mark.parametrize("name", marked(MAPS))
def test_a_step_of_training(name, discs, tmp_path):
    options = REDUCED | {"data_root": str(discs)}
    config = load_config(FOLDER / f"{name}.py", options)
    if config.default_scope == "mmdet":
        # Fewer regions of interest than a GPU would take.
        config.model.train_cfg.rcnn.sampler.num = 32
        config.model.train_cfg.rpn_proposal.update(nms_pre=200, max_per_img=100)
    runner = build_runner(config, tmp_path, resume=False, amp=False, launcher="none")
    runner.model.init_weights()
    before = {key: value.clone() for key, value in runner.model.named_parameters()}
    with scope(config.default_scope):
        batch = next(iter(runner.train_loop.dataloader))
        assert [tuple(image.shape) for image in batch["inputs"]] == [(3, 96, 96)] * 2
        logged = runner.model.train_step(batch, runner.optim_wrapper)
    losses = {key: float(value.detach()) for key, value in logged.items() if "loss" in key}
    expected = 6 if config.default_scope == "mmdet" else 3 + config.flows
    assert len(losses) == expected and all(0 <= value < 100 for value in losses.values()), losses
    changed = {key for key, value in runner.model.named_parameters() if not torch.equal(value, before[key])}
    parts = {key.partition(".")[0] for key in before}
    assert {key.partition(".")[0] for key in changed} == parts


@pytest.mark.parametrize("name", marked(YOLOX))
def test_an_epoch_of_yolox(name, discs, tmp_path):
    reduced = dict(input_size=(96, 96), start_size=None, batch_size=4, max_epoch=1, warmup_epochs=0)
    reduced |= dict(no_aug_epochs=0, grow_epochs=0, eval_interval=1, multiscale_range=0, data_num_workers=0)
    reduced |= dict(epoch_iterations=2)
    options = {f"exp.{key}": value for key, value in reduced.items()}
    options |= {"data_root": str(discs), "magnification": 1.0}
    result = train(FOLDER / f"{name}.py", tmp_path / "w", options=options)
    assert result["iteration"] == 2
    assert (tmp_path / "w" / "best.pth").is_file()
