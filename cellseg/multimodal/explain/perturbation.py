"""Perturbation importance: what a score loses when a part of the inputs says nothing any more.

The permutation importance of Breiman 2001, "Random forests", section 10, for modalities, features and regions.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from cellseg.errors import InputError

Inputs = Mapping[str, Mapping[str, Tensor]]
Score = Callable[[Inputs], float]
METHODS = ("shuffle", "mean")


@dataclass(frozen=True)
class Importance:
    """What a part of the inputs is worth.

    Attributes:
        drops: the score with all inputs minus that without the part, one number a repeat.
    """

    drops: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean drop; negative where the part does harm."""
        return fmean(self.drops)

    @property
    def spread(self) -> float:
        """Standard deviation of the drops over the repeats; 0 for one."""
        return stdev(self.drops) if len(self.drops) > 1 else 0.0


def modality_importance(
    score: Score, inputs: Inputs, method: str = "shuffle", repeats: int = 10, seed: int = 0
) -> dict[str, Importance]:
    """The importance of each modality.

    Args:
        score: of the model on some inputs, higher is better; called without gradients.
        inputs: of all samples, by modality ``values``, and where there are ``mask`` and ``present``.
        method: ``shuffle``: every sample that has the modality gets it from another one that has it, with its mask;
            ``mean``: from the mean of all that is real, which numbers have and words have not.
        repeats: of shuffling; the mean is taken once.
        seed: of shuffling. A repeat exchanges the same samples for every part, so that parts can be compared.

    Returns:
        By modality.

    Raises:
        InputError: a method or number that cannot be used, or fewer than two samples that have a modality.
    """
    parts = {name: (name, None) for name in inputs}
    return _importances(score, inputs, parts, method, repeats, seed)


def feature_importance(
    score: Score,
    inputs: Inputs,
    modality: str,
    names: Sequence[str] | None = None,
    method: str = "shuffle",
    repeats: int = 10,
    seed: int = 0,
) -> dict[str, Importance]:
    """The importance of each feature of a table ``[B, F]`` or channel of a sequence ``[B, T, C]``.

    Whether a feature is known moves with it. A channel of a longer sequence is cut, one of a shorter is filled with 0.

    Args:
        score: see ``modality_importance``.
        inputs: see ``modality_importance``.
        modality: whose features.
        names: of the features; None for their numbers.
        method: see ``modality_importance``.
        repeats: see ``modality_importance``.
        seed: see ``modality_importance``.

    Returns:
        By name.

    Raises:
        InputError: as ``modality_importance``, or a modality without features, or another number of names.
    """
    values = _values(inputs, modality)
    if values.ndim not in (2, 3) or not values.is_floating_point():
        raise InputError(f"{modality}: has no features; this is for tables and sequences of numbers")
    count = values.shape[-1]
    names = [str(number) for number in range(count)] if names is None else names
    if len(names) != count or len(set(names)) != count:
        raise InputError(f"names: expected {count} different ones, one for each feature of {modality}")
    chosen = torch.eye(count, dtype=torch.bool, device=values.device)
    parts = {name: (modality, chosen[index].expand(values.shape[1:])) for index, name in enumerate(names)}
    return _importances(score, inputs, parts, method, repeats, seed)


def region_importance(
    score: Score,
    inputs: Inputs,
    modality: str,
    grid: Sequence[int],
    method: str = "shuffle",
    repeats: int = 10,
    seed: int = 0,
) -> dict[tuple[int, ...], Importance]:
    """The importance of each cell of a grid over pictures ``[B, C, H, W]`` or volumes ``[B, C, D, H, W]``.

    Args:
        score: see ``modality_importance``.
        inputs: see ``modality_importance``.
        modality: the pictures or volumes.
        grid: number of cells along each of the last two or three dimensions.
        method: see ``modality_importance``.
        repeats: see ``modality_importance``.
        seed: see ``modality_importance``.

    Returns:
        By the cell's place in the grid; see ``region_map``.

    Raises:
        InputError: as ``modality_importance``, or a grid that does not fit.
    """
    values = _values(inputs, modality)
    size = values.shape[2:]
    if values.ndim < 4 or len(grid) != len(size) or any(not 1 <= n <= side for n, side in zip(grid, size, strict=True)):
        raise InputError(f"grid: {list(grid)} does not divide {modality} of {list(values.shape[1:])} (channels first)")
    parts = {}
    for cell in product(*(range(count) for count in grid)):
        part = torch.zeros(values.shape[1:], dtype=torch.bool, device=values.device)
        borders = zip(cell, grid, size, strict=True)
        part[(..., *(slice(n * side // count, (n + 1) * side // count) for n, count, side in borders))] = True
        parts[cell] = (modality, part)
    return _importances(score, inputs, parts, method, repeats, seed)


def region_map(importances: Mapping[tuple[int, ...], Importance]) -> Tensor:
    """Mean drops of ``region_importance`` in the shape of its grid."""
    grid = [max(places) + 1 for places in zip(*importances, strict=True)]
    return torch.tensor([importances[cell].mean for cell in product(*map(range, grid))]).view(grid)


@torch.no_grad()
def _importances(
    score: Score,
    inputs: Inputs,
    parts: Mapping[Any, tuple[str, Tensor | None]],
    method: str,
    repeats: int,
    seed: int,
) -> dict[Any, Importance]:
    """The importance of parts of modalities, bool of the shape of one sample's values; None for all of it."""
    if method not in METHODS:
        raise InputError(f"method: expected {' or '.join(METHODS)}, found {method!r}")
    if repeats < 1:
        raise InputError(f"repeats: expected 1 or more, found {repeats}")
    whole = float(score(inputs))
    result = {}
    for key, (modality, part) in parts.items():
        perturb = (
            _shuffled(inputs, modality, part, repeats, seed) if method == "shuffle" else _mean(inputs, modality, part)
        )
        result[key] = Importance(tuple(whole - float(score({**inputs, modality: other})) for other in perturb))
    return result


def _shuffled(
    inputs: Inputs, modality: str, part: Tensor | None, repeats: int, seed: int
) -> Iterator[dict[str, Tensor]]:
    content = inputs[modality]
    values, mask = _values(inputs, modality), content.get("mask")
    rows = _present(content).nonzero()[:, 0]
    if len(rows) < 2:
        raise InputError(f"{modality}: shuffling needs two samples that have it, found {len(rows)}")
    generator = torch.Generator().manual_seed(seed)
    for _ in range(repeats):
        order = rows[torch.randperm(len(rows), generator=generator).to(rows.device)]
        # Around a circle: nobody keeps what it has.
        source = torch.arange(len(values), device=rows.device).scatter(0, order, order.roll(1))
        other = dict(content)
        other["values"] = _exchanged(values, source, part)
        if mask is not None and (part is None or mask.shape == values.shape):
            other["mask"] = _exchanged(mask, source, part)
        yield other


def _exchanged(values: Tensor, source: Tensor, part: Tensor | None) -> Tensor:
    return values[source] if part is None else torch.where(part, values[source], values)


def _mean(inputs: Inputs, modality: str, part: Tensor | None) -> Iterator[dict[str, Tensor]]:
    content = inputs[modality]
    values = _values(inputs, modality)
    if not values.is_floating_point():
        raise InputError(f"{modality}: words have no mean; use the method 'shuffle'")
    real = _present(content).view(-1, *[1] * (values.ndim - 1)).expand_as(values)
    if "mask" in content:
        mask = content["mask"]
        real = real & mask.view(*mask.shape, *[1] * (values.ndim - mask.ndim))
    # Of a sequence, over all steps: what stands at a step of one has nothing to do with that step of another.
    dimensions = (0, 1) if values.ndim == 3 else (0,)
    total = values.masked_fill(~real, 0.0).sum(dim=dimensions, keepdim=True)
    mean = total / real.sum(dim=dimensions, keepdim=True).clamp(min=1)
    yield {**content, "values": torch.where(real if part is None else real & part, mean, values)}


def _present(content: Mapping[str, Tensor]) -> Tensor:
    values = content["values"]
    return content.get("present", torch.ones(len(values), dtype=torch.bool, device=values.device))


def _values(inputs: Inputs, modality: str) -> Tensor:
    if modality not in inputs:
        raise InputError(f"no modality {modality!r}; there are {', '.join(inputs)}")
    return inputs[modality]["values"]
