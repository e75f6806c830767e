"""A training of a tiny Mask R-CNN or UPerNet on random cells, as a process that tests start, kill and resume.

``python tiny_training.py mask_rcnn WORK_DIR --iterations 12 --kill-at 9`` writes the losses of each iteration to
``WORK_DIR/losses.jsonl``.
"""

import argparse
import json
import os
import signal
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from PIL import Image
from pycocotools import mask as coco_mask

import cellseg.openmmlab  # noqa: F401

SIDE = 64
BATCH_NORM = {"type": "BN", "requires_grad": True}


@HOOKS.register_module()
class LossFile(Hook):
    """Appends every iteration's losses; kills the process after one of them, or while validating."""

    priority = "VERY_HIGH"

    def __init__(self, path: str, kill_at: int, kill_when: str):
        self.path, self.kill_at, self.kill_when = path, kill_at, kill_when

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        with open(self.path, "a") as file:
            row = {name: torch.as_tensor(value).item() for name, value in sorted(outputs.items())}
            file.write(json.dumps({"iteration": runner.iter + 1, **row}) + "\n")

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self._kill("train", runner)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        # An untidy metric: what it draws must not reach the training.
        torch.rand(3), np.random.rand(5)
        self._kill("val", runner)

    def after_val_epoch(self, runner, metrics=None):
        with open(self.path, "a") as file:
            row = {name: float(value) for name, value in sorted(metrics.items())}
            file.write(json.dumps({"validated": runner.iter, **row}) + "\n")

    def _kill(self, when, runner):
        if self.kill_when == when and runner.iter == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def make_images(folder: Path, count: int = 8) -> None:
    """Grey noise with elliptic cells: images, label maps and a COCO file with RLE masks."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    images, annotations = [], []
    for name in ("images", "maps"):
        (folder / name).mkdir(parents=True)
    for index in range(count):
        pixels = random.normal(120, 10, (SIDE, SIDE))
        labels = np.zeros((SIDE, SIDE), np.uint8)
        for _ in range(4):
            (y, x), (a, b) = random.uniform(12, SIDE - 12, 2), random.uniform(5, 11, 2)
            cell = ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 < 1
            pixels[cell] += 60
            labels[cell] = 1
            found = coco_mask.encode(np.asfortranarray(cell.astype(np.uint8)))
            box = coco_mask.toBbox(found).tolist()
            segmentation = {"size": found["size"], "counts": found["counts"].decode()}
            annotations.append(
                {"id": len(annotations) + 1, "image_id": index, "category_id": 1, "bbox": box, "iscrowd": 0}
                | {"area": int(cell.sum()), "segmentation": segmentation}
            )
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"images/{index}.png")
        Image.fromarray(labels).save(folder / f"maps/{index}.png")
        images.append({"id": index, "file_name": f"{index}.png", "height": SIDE, "width": SIDE})
    text = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}
    (folder / "cells.json").write_text(json.dumps(text))


def mask_rcnn() -> dict:
    """A Mask R-CNN with ResNet-18 of 8 channels."""
    anchors = {"type": "AnchorGenerator", "scales": [2], "ratios": [1.0], "strides": [4, 8, 16, 32]}
    coder = {"type": "DeltaXYWHBBoxCoder", "target_means": [0.0] * 4}
    cross_entropy = {"type": "CrossEntropyLoss", "loss_weight": 1.0}
    l1 = {"type": "L1Loss", "loss_weight": 1.0}
    assigner = {"type": "MaxIoUAssigner", "pos_iou_thr": 0.5, "neg_iou_thr": 0.5, "min_pos_iou": 0.3}
    sampler = {"type": "RandomSampler", "num": 32, "pos_fraction": 0.5, "neg_pos_ub": -1}

    def extractor(size: int) -> dict:
        layer = {"type": "RoIAlign", "output_size": size, "sampling_ratio": 0}
        return {
            "type": "SingleRoIExtractor",
            "roi_layer": layer,
            "out_channels": 16,
            "featmap_strides": [4, 8, 16],
        }

    return {
        "type": "MaskRCNN",
        "data_preprocessor": {
            "type": "DetDataPreprocessor",
            "mean": [120.0] * 3,
            "std": [40.0] * 3,
            "pad_mask": True,
            "pad_size_divisor": 32,
        },
        "backbone": {"type": "ResNet", "depth": 18, "base_channels": 8, "norm_cfg": BATCH_NORM},
        "neck": {"type": "FPN", "in_channels": [8, 16, 32, 64], "out_channels": 16, "num_outs": 4},
        "rpn_head": {
            "type": "RPNHead",
            "in_channels": 16,
            "feat_channels": 16,
            "anchor_generator": anchors,
            "bbox_coder": coder | {"target_stds": [1.0] * 4},
            "loss_cls": cross_entropy | {"use_sigmoid": True},
            "loss_bbox": l1,
        },
        "roi_head": {
            "type": "StandardRoIHead",
            "bbox_roi_extractor": extractor(7),
            "mask_roi_extractor": extractor(14),
            "bbox_head": {
                "type": "Shared2FCBBoxHead",
                "in_channels": 16,
                "fc_out_channels": 32,
                "num_classes": 1,
                "bbox_coder": coder | {"target_stds": [0.1, 0.1, 0.2, 0.2]},
                "loss_cls": cross_entropy,
                "loss_bbox": l1,
            },
            "mask_head": {
                "type": "FCNMaskHead",
                "num_convs": 1,
                "in_channels": 16,
                "conv_out_channels": 16,
                "num_classes": 1,
                "loss_mask": {"type": "CrossEntropyLoss", "use_mask": True},
            },
        },
        "train_cfg": {
            "rpn": {
                "assigner": assigner,
                "sampler": sampler | {"add_gt_as_proposals": False},
                "allowed_border": -1,
                "pos_weight": -1,
                "debug": False,
            },
            "rpn_proposal": {"nms_pre": 100, "max_per_img": 50, "nms": {"type": "nms", "iou_threshold": 0.7}},
            "rcnn": {
                "assigner": assigner,
                "sampler": sampler | {"add_gt_as_proposals": True},
                "mask_size": 28,
                "pos_weight": -1,
                "debug": False,
            },
        },
        "test_cfg": {
            "rpn": {"nms_pre": 100, "max_per_img": 50, "nms": {"type": "nms", "iou_threshold": 0.7}},
            "rcnn": {
                "score_thr": 0.05,
                "nms": {"type": "nms", "iou_threshold": 0.5},
                "max_per_img": 2000,
                "mask_thr_binary": 0.5,
            },
        },
    }


def upernet() -> dict:
    """A UPerNet with ResNet-18 of 8 channels; its heads have dropout."""
    cross_entropy = {"type": "CrossEntropyLoss", "loss_weight": 1.0, "avg_non_ignore": True}
    head = {"num_classes": 2, "dropout_ratio": 0.1, "norm_cfg": BATCH_NORM, "loss_decode": cross_entropy}
    return {
        "type": "EncoderDecoder",
        "data_preprocessor": {
            "type": "SegDataPreProcessor",
            "mean": [120.0] * 3,
            "std": [40.0] * 3,
            "seg_pad_val": 255,
            "size": (48, 48),
        },
        "backbone": {"type": "ResNet", "depth": 18, "base_channels": 8, "norm_cfg": BATCH_NORM},
        "decode_head": head
        | {"type": "UPerHead", "in_channels": [8, 16, 32, 64], "in_index": [0, 1, 2, 3], "channels": 16},
        "auxiliary_head": head | {"type": "FCNHead", "in_channels": 32, "in_index": 2, "channels": 8, "num_convs": 1},
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }


def detection_data(folder: Path) -> tuple[dict, dict, dict]:
    """Training and validation sets of the detector, and its metric."""
    load = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations", "with_bbox": True, "with_mask": True}]
    change = [
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "PhotoMetricDistortion"},
        {"type": "RandomCrop", "crop_size": (56, 56)},
    ]
    keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
    pack = [{"type": "PackDetInputs", "meta_keys": keys}]
    resize = [{"type": "Resize", "scale": (SIDE, SIDE)}]
    dataset = {
        "type": "CocoDataset",
        "data_root": str(folder),
        "ann_file": "cells.json",
        "data_prefix": {"img": "images/"},
        "metainfo": {"classes": ("cell",)},
    }
    metric = {"type": "CocoMetric", "ann_file": str(folder / "cells.json"), "metric": ["segm"]}
    return (
        dataset | {"pipeline": load + resize + change + pack},
        dataset | {"pipeline": load[:1] + resize + pack, "test_mode": True},
        metric,
    )


def semantic_data(folder: Path) -> tuple[dict, dict, dict]:
    """Training and validation sets of the semantic network, and its metric."""
    load = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}]
    change = [
        {"type": "RandomCrop", "crop_size": (48, 48)},
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "PhotoMetricDistortion"},
    ]
    pack = [{"type": "PackSegInputs"}]
    dataset = {
        "type": "BaseSegDataset",
        "data_root": str(folder),
        "img_suffix": ".png",
        "seg_map_suffix": ".png",
        "data_prefix": {"img_path": "images", "seg_map_path": "maps"},
        "metainfo": {"classes": ("background", "cell"), "palette": [[0, 0, 0], [255, 0, 0]]},
    }
    metric = {"type": "IoUMetric", "iou_metrics": ["mIoU"]}
    return dataset | {"pipeline": load + change + pack}, dataset | {"pipeline": load + pack}, metric


def loop_settings(options: argparse.Namespace, data: dict) -> dict:
    """What differs between training by iterations and by epochs (4 iterations each)."""
    sampler = {"type": "InfiniteSampler" if options.loop == "iter" else "DefaultSampler", "shuffle": True}
    every = {"interval": options.save_every, "by_epoch": options.loop == "epoch", "save_best": "auto"}
    if options.loop == "iter":
        cfg = {"type": "IterBasedTrainLoop", "max_iters": options.iterations, "val_interval": 4}
    else:
        cfg = {"type": "EpochBasedTrainLoop", "max_epochs": options.iterations // 4, "val_interval": 1}
    if options.loop == "epoch_by_iter":
        every["by_epoch"] = False
    return {
        "train_cfg": cfg,
        "train_dataloader": data | {"sampler": sampler},
        "checkpoint": every | {"type": "CheckpointHook", "max_keep_ckpts": 1, "rule": "greater"},
        "by_epoch": options.loop == "epoch",
    }


def make_config(options: argparse.Namespace, folder: Path) -> Config:
    """The whole config of the Runner."""
    detects = options.network == "mask_rcnn"
    train, val, metric = (detection_data if detects else semantic_data)(folder)
    workers = {"num_workers": options.workers, "persistent_workers": options.workers > 0}
    settings = loop_settings(options, {"batch_size": 2, "dataset": train} | workers)
    best = settings["checkpoint"] | {"save_best": "coco/segm_mAP" if detects else "mIoU"}
    momentum = {"type": "SGD", "lr": 0.02, "momentum": 0.9}
    return Config(
        {
            "default_scope": "mmdet" if detects else "mmseg",
            "model": mask_rcnn() if detects else upernet(),
            "train_cfg": settings["train_cfg"],
            "train_dataloader": settings["train_dataloader"],
            "val_cfg": {"type": "ValLoop"},
            "val_dataloader": {
                "batch_size": 1,
                "num_workers": 0,
                "dataset": val,
                "sampler": {"type": "DefaultSampler", "shuffle": False},
            },
            "val_evaluator": metric,
            "optim_wrapper": {"type": "OptimWrapper", "optimizer": momentum, "accumulative_counts": options.accumulate},
            "param_scheduler": [
                {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "begin": 0, "end": 6},
                {"type": "CosineAnnealingLR", "by_epoch": False, "begin": 6, "end": 16, "eta_min": 0.001},
            ],
            "default_hooks": {"checkpoint": best, "logger": {"type": "LoggerHook", "interval": 1}},
            "custom_hooks": [
                {
                    "type": "LossFile",
                    "path": str(Path(options.work_dir) / "losses.jsonl"),
                    "kill_at": options.kill_at,
                    "kill_when": options.kill_when,
                }
            ]
            + ([] if options.without_hook else [{"type": "ExactResumeHook"}]),
            "randomness": {"seed": options.seed},
            "work_dir": options.work_dir,
            "resume": options.resume,
            "log_processor": {"by_epoch": settings["by_epoch"]},
            "visualizer": {"type": "Visualizer", "vis_backends": []},
            "experiment_name": "tiny",
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("network", choices=("mask_rcnn", "upernet"))
    parser.add_argument("work_dir")
    parser.add_argument("--loop", choices=("iter", "epoch", "epoch_by_iter"), default="iter")
    parser.add_argument("--iterations", type=int, default=12)
    parser.add_argument("--save-every", type=int, default=5)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--kill-at", type=int, default=-1)
    parser.add_argument("--kill-when", choices=("train", "val"), default="train")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--without-hook", action="store_true")
    options = parser.parse_args()
    folder = Path(options.work_dir).parent / "data"
    if not folder.exists():
        make_images(folder)
    torch.set_num_threads(1)
    Runner.from_cfg(make_config(options, folder)).train()


if __name__ == "__main__":
    main()
