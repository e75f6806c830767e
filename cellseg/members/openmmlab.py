"""What members from mmdet and mmseg share: loading a trained network, and images in its form."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import cellseg.openmmlab as openmmlab
from cellseg.errors import InputError
from cellseg.io.files import file_hash
from cellseg.training.config import read_config


@dataclass
class LoadedNetwork:
    """A network in evaluation mode with where it came from."""

    model: torch.nn.Module
    config: Any
    class_names: tuple[str, ...]
    scope: str
    identity: dict[str, Any]


def load_network(
    name: str, config_path: str, checkpoint_path: str, scope: str, device: str, unsafe: bool
) -> LoadedNetwork:
    """Build the network of a training's ``config.py`` and load its weights.

    Args:
        name: the member's name, for messages and identity.
        config_path: the bound config that the training wrote.
        checkpoint_path: its ``best.pth``.
        scope: the registry scope that the network must have, ``mmdet`` or ``mmseg``.
        device: torch device.
        unsafe: load the checkpoint without torch's restriction to plain weights.

    Raises:
        InputError: files that are missing, of another kind, or do not fit each other.
    """
    config = read_config(config_path)
    if config.get("default_scope") != scope:
        raise InputError(
            f"{config_path}: member {name!r} needs a config with default_scope = {scope!r}, "
            f"this one has {config.get('default_scope')!r}"
        )
    checkpoint = openmmlab.load_checkpoint_file(checkpoint_path, unsafe=unsafe)
    weights = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if weights is None:
        raise InputError(f"{checkpoint_path}: no state_dict in it; give a best.pth that tools/train.py wrote")
    if "model" not in config or "class_names" not in config:
        raise InputError(f"{config_path}: no model or no class_names in it; give the config.py of a training")
    try:
        model = openmmlab.build_model(config.model, scope)
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{config_path}: its network cannot be built ({type(error).__name__}: {error})") from error
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        first = str(error).splitlines()[1].strip() if len(str(error).splitlines()) > 1 else str(error)
        raise InputError(f"{checkpoint_path}: does not fit the network of {config_path}: {first}") from error
    model.to(device).eval()
    return LoadedNetwork(
        model=model,
        config=config,
        class_names=tuple(config.class_names),
        scope=scope,
        identity={"name": name, "checkpoint": file_hash(checkpoint_path), "config": file_hash(Path(config_path))},
    )


def preprocess(model: torch.nn.Module, image: np.ndarray, data_sample: Any, device: str) -> torch.Tensor:
    """Normalised, padded network input ``[1, 3, H', W']`` of a uint8 RGB image, by the network's own preprocessor."""
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).to(device)
    return model.data_preprocessor({"inputs": [tensor], "data_samples": [data_sample]}, False)["inputs"]
