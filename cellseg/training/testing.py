"""Scores of a trained network on a split of its data folder, by the evaluators that its training validates with."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn
from tqdm import tqdm

from cellseg.datasets.folder import DataFolder
from cellseg.errors import InputError
from cellseg.io.files import file_hash
from cellseg.machine import find_device
from cellseg.openmmlab.checkpoints import load_checkpoint_file
from cellseg.training.config import load_config
from cellseg.training.publish import package_versions

# Where the engines' own checkpoints keep weights, beside the published best.pth.
_WEIGHTS = ("state_dict", "model", "network")


@dataclass(frozen=True)
class CheckpointScores:
    """What a network reached.

    Attributes:
        scores: by name, as the training logs them; None where a score is undefined, as without a true cell.
        note: a line of the evaluator's own; empty where it has none.
        images: how many images, of a multimodal model samples, were scored.
        split: which.
        fold: which; None for the data of a multimodal model, which has splits of its own.
        hashes: SHA-256 of the checkpoint and, of a data folder, of the split's annotations.
    """

    scores: Mapping[str, float | None]
    note: str
    images: int
    split: str
    fold: int | None
    hashes: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "scores": dict(self.scores),
            "images": self.images,
            "split": self.split,
            "fold": self.fold,
            "provenance": {**self.hashes, "versions": package_versions()},
        }


def score_checkpoint(
    config_path: str | Path,
    checkpoint: str | Path,
    split: str = "test",
    options: Mapping[str, Any] | None = None,
    device: str | None = None,
    unsafe_load: bool = False,
) -> CheckpointScores:
    """Score a checkpoint.

    Args:
        config_path: the ``config.py`` of its work folder, or the config that it was trained with.
        checkpoint: its ``best.pth``, or a checkpoint of its engine.
        split: ``train``, ``val`` or ``test`` of the config's data folder and fold, or of a multimodal model's data.
        options: dotted config keys and values.
        device: for torch; None: a CUDA device where there is one.
        unsafe_load: load the checkpoint even if it holds more than weights; it can then run any code.

    Raises:
        MissingFileError: a file does not exist.
        InputError: config, checkpoint, data and device do not fit each other.
    """
    config = load_config(config_path, options)
    place = find_device(device)
    weights, meta = _read_weights(checkpoint, unsafe_load)
    if "reader" in config:
        _check_description(config, weights, str(checkpoint))
        scores, _, samples = _score_mmengine(config, weights, split, place, str(checkpoint))
        return _named_scores(scores, "", samples, split, None, {"checkpoint": file_hash(checkpoint)})
    folder = DataFolder(config.data_root)
    fold = config.get("fold", 0)
    annotations = folder.split_file(fold, split)
    _check_types(meta, folder, checkpoint)
    score = _score_yolox if config.engine == "yolox" else _score_mmengine
    scores, note, images = score(config, weights, split, place, str(checkpoint))
    hashes = {"checkpoint": file_hash(checkpoint), "annotations": file_hash(annotations)}
    return _named_scores(scores, note, images, split, fold, hashes)


def _named_scores(
    scores: Mapping[str, float], note: str, images: int, split: str, fold: int | None, hashes: Mapping[str, str]
) -> CheckpointScores:
    defined = {name: float(value) if math.isfinite(value) else None for name, value in scores.items()}
    return CheckpointScores(defined, note, images, split, fold, hashes)


def _read_weights(path: str | Path, unsafe: bool) -> tuple[Mapping[str, torch.Tensor], Mapping[str, Any]]:
    """Weights, and what the checkpoint says about itself."""
    checkpoint = load_checkpoint_file(path, unsafe=unsafe)
    found = [checkpoint[key] for key in _WEIGHTS if key in checkpoint] if isinstance(checkpoint, Mapping) else []
    if not found or not isinstance(found[0], Mapping):
        raise InputError(f"{path}: no weights in it; give the best.pth that tools/train.py wrote")
    meta = checkpoint.get("meta")
    return found[0], meta if isinstance(meta, Mapping) else {}


def _check_types(meta: Mapping[str, Any], folder: DataFolder, path: str | Path) -> None:
    known = meta.get("class_names")
    if known is not None and tuple(known) != folder.class_names:
        raise InputError(
            f"{path}: knows the types {list(known)}, {folder.root} has {list(folder.class_names)}; score it on data of "
            "its own types"
        )


def _check_description(config: Config, weights: Mapping[str, torch.Tensor], path: str) -> None:
    """Refuse data with other classes, words or shapes than those that the weights were trained for."""
    from cellseg.multimodal.data import DataDescription, load_multimodal_data
    from cellseg.multimodal.description import unpack_description

    # Written out in the config.py of a work folder, where --cfg-options data_root=... would not reach it.
    for place in (config.model, config.val_dataloader.dataset):
        place.source.data_root = config.data_root
    known = DataDescription.from_dict(unpack_description(weights.get("description"), path), path)
    other = known.differences(load_multimodal_data(**config.model.to_dict()["source"]).description)
    if other:
        raise InputError(
            f"{path}: the data is not what the model was trained on (different: {', '.join(other)}); score it with the "
            "config.py of its work folder"
        )


def _load_weights(model: nn.Module, weights: Mapping[str, torch.Tensor], path: str, config: Config) -> None:
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        first = [line.strip() for line in str(error).splitlines() if line.strip()][:2][-1]
        raise InputError(f"{path}: does not fit the network of {config.filename}: {first}") from error


def _score_yolox(
    config: Config, weights: Mapping[str, torch.Tensor], split: str, device: torch.device, path: str
) -> tuple[dict[str, float], str, int]:
    from torch.utils.data import DataLoader

    from cellseg.models.yolox.data import CellImages, ValidationImages
    from cellseg.models.yolox.evaluator import CellEvaluator
    from cellseg.models.yolox.network import build_network
    from cellseg.models.yolox.settings import read_settings

    if "exp" not in config:
        raise InputError(f"{config.filename}: a config of the yolox engine needs 'exp'")
    folder, settings = DataFolder(config.data_root), read_settings(config.exp)
    network = build_network(settings, len(folder.class_names))
    _load_weights(network, weights, path, config)
    images = ValidationImages(CellImages(folder, config.get("fold", 0), split, settings))
    evaluator = CellEvaluator(DataLoader(images, batch_size=None), settings, folder.class_names)
    with torch.inference_mode():
        ap, ap50, note = evaluator.evaluate(network.to(device).eval())
    return {"bbox_ap": ap, "bbox_ap50": ap50}, note, len(images)


def _score_mmengine(
    config: Config, weights: Mapping[str, torch.Tensor], split: str, device: torch.device, path: str
) -> tuple[dict[str, float], str, int]:
    from mmengine.evaluator import Evaluator
    from mmengine.runner import Runner

    from cellseg.openmmlab import build_model, scope
    from cellseg.training.mmengine_engine import config_mistakes

    if not config.get("val_dataloader") or not config.get("val_evaluator"):
        raise InputError(f"{config.filename}: has no val_dataloader and val_evaluator to score with")
    loader_config = config.val_dataloader
    if "split" not in loader_config.dataset:
        raise InputError(f"{config.filename}: val_dataloader.dataset has no split that could be {split!r}")
    # Written out in the config.py of a work folder, where --cfg-options data_root=... would not reach them.
    values = {"data_root": config.get("data_root"), "fold": config.get("fold", 0)}
    loader_config.dataset.update({key: value for key, value in values.items() if key in loader_config.dataset})
    loader_config.dataset.split = split
    name = config.get("default_scope") or "mmengine"
    with scope(name), config_mistakes(config):
        model = build_model(config.model, name)
        loader = Runner.build_dataloader(loader_config)
        evaluator = Evaluator(config.val_evaluator)
    evaluator.dataset_meta = getattr(loader.dataset, "metainfo", None)
    _load_weights(model, weights, path, config)
    model.to(device).eval()
    with scope(name), torch.no_grad():
        for batch in tqdm(loader, desc="test", unit="image", disable=None):
            evaluator.process(data_samples=model.test_step(batch), data_batch=batch)
        return evaluator.evaluate(len(loader.dataset)), "", len(loader.dataset)
