"""What a model must know besides its weights, as bytes among them: plain values that travel with every checkpoint."""

import json
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cellseg.errors import InputError
from cellseg.openmmlab import load_checkpoint_file


def pack_description(description: Mapping[str, Any]) -> Tensor:
    """As uint8 ``[L]``, so that it can stand among weights.

    Raises:
        InputError: it holds what JSON cannot.
    """
    try:
        text = json.dumps(dict(description), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"description: expected plain values that JSON can hold ({error})") from error
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def unpack_description(content: Any, where: str) -> dict[str, Any]:
    """Inverse of ``pack_description``.

    Raises:
        InputError: something else; names ``where``.
    """
    try:
        description = json.loads(bytes(content.tolist()))
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{where}: not the checkpoint of a multimodal model (no description in it)") from error
    if not isinstance(description, dict):
        raise InputError(f"{where}: the description in it is damaged; train again")
    return description


def read_description(checkpoint: str | os.PathLike | Mapping[str, Any]) -> dict[str, Any]:
    """What a model must know besides its weights, from their checkpoint, without building the model.

    Args:
        checkpoint: a file, or what was loaded from one (with ``state_dict``, or the weights alone).

    Raises:
        MissingFileError: there is no such file.
        InputError: it is not the checkpoint of a multimodal model.
    """
    where = "checkpoint"
    if not isinstance(checkpoint, Mapping):
        where, checkpoint = os.fspath(checkpoint), load_checkpoint_file(checkpoint)
    weights = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, Mapping) else {}
    return unpack_description(weights.get("description", weights.get("module.description")), where)
