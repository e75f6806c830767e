"""Weights and training states: written complete or not at all, read without executing anything."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cellseg.errors import InputError
from cellseg.io.files import atomic_path
from cellseg.openmmlab.checkpoints import load_checkpoint_file

SHOWN = 20  # names listed in a warning


def save_state(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write with ``torch.save``; equal states make equal files (torch would store a file's own name inside)."""
    content = io.BytesIO()
    torch.save(state, content)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def load_state(path: str | Path, device: str | torch.device = "cpu", unsafe: bool = False) -> dict[str, Any]:
    """Read a checkpoint with ``weights_only=True``.

    Args:
        path: the file.
        device: where its tensors go.
        unsafe: lift that restriction; a checkpoint can then execute whatever its maker wanted.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is no checkpoint, is damaged, or holds more than weights and plain values.
    """
    state = load_checkpoint_file(path, unsafe=unsafe, map_location=device)
    if not isinstance(state, dict):
        raise InputError(f"{path}: not a checkpoint (it holds a {type(state).__name__}, not a dictionary)")
    return state


def load_fitting_weights(
    network: nn.Module, path: str | Path, warn: Callable[[str], None], unsafe: bool = False
) -> None:
    """Load the weights of a file that fit by name and shape.

    Args:
        network: receives the weights.
        path: a published ``best.pth``, a checkpoint of the ``yolox`` package, or a plain state dict.
        warn: is told which weights did not fit (the class head of a network for other classes, for example).
        unsafe: as for ``load_state``.

    Raises:
        InputError: the file cannot be read, or none of its weights fits.
    """
    state = load_state(path, unsafe=unsafe)
    # Of a training state without a moving average, "network" holds the weights.
    weights = next((state[key] for key in ("state_dict", "model", "network") if key in state), state)
    own = network.state_dict()
    fitting = {
        name: value
        for name, value in weights.items()
        if name in own and isinstance(value, torch.Tensor) and value.shape == own[name].shape
    }
    if not any(value.is_floating_point() for value in fitting.values()):
        raise InputError(f"{path}: --pretrained: none of its weights fits this network by name and shape")
    network.load_state_dict(fitting, strict=False)
    left = [name for name in own if name not in fitting]
    if left:
        more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
        warn(
            f"{path}: {len(fitting)} of {len(own)} weights loaded; without a fitting one and random at first: "
            f"{', '.join(left[:SHOWN])}{more}"
        )
