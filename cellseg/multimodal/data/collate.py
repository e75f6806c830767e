"""How samples become a batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.registry import FUNCTIONS
from torch import Tensor
from torch.nn.functional import pad


@FUNCTIONS.register_module()
def collate_samples(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A batch of samples.

    Args:
        items: ``inputs``, ``targets`` and ``sample`` of each, of one data set.

    Returns:
        ``inputs`` and ``targets``, where texts, sequences, frames and captions are filled up with zeros to the longest
        of the batch, and ``samples``. A task that no sample has a target of is left out.
    """
    inputs, targets = (
        {name: _join([item[part][name] for item in items]) for name in items[0][part]} for part in ("inputs", "targets")
    )
    return {
        "inputs": inputs,
        "targets": {task: target for task, target in targets.items() if target["present"].any()},
        "samples": [item["sample"] for item in items],
    }


def _join(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: _stack([part[name] for part in parts]) for name in parts[0]}


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    """``[B, ...]``, with every axis as long as in the longest of the samples."""
    shape = [max(sizes) for sizes in zip(*(tensor.shape for tensor in tensors), strict=True)]
    return torch.stack([_fill(tensor, shape) for tensor in tensors])


def _fill(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    # torch counts from the last axis: (left, right) of the last, then of the one before it, ...
    ends = [end for size, wanted in zip(tensor.shape[::-1], shape[::-1], strict=True) for end in (0, wanted - size)]
    return pad(tensor, ends) if any(ends) else tensor
