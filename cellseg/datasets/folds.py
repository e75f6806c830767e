"""Folds and validation splits: whole groups, balanced by cell type, the same for the same seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cellseg.errors import InputError

DEFAULT_FOLDS = 5
_ABSENT = 4.0  # cost of a type missing from a part, relative to the largest cost that counts can make
_SWAP_LIMIT = 400  # exchanging pairs of groups is tried up to this many groups; moving single ones always


@dataclass(frozen=True)
class Split:
    """Which images belong where, as sorted indices into the images."""

    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]


def make_splits(
    groups: Sequence[str], types: Sequence[str], folds: int, val_fraction: float = 0.2, seed: int = 0
) -> tuple[np.ndarray, list[Split]]:
    """Test folds, and for each a validation split of the images that remain; no group lies in two splits of a fold.

    Groups are distributed so that every fold has about the same number of images of each cell type: greedily
    from the largest group down, then by moves and exchanges as long as they improve the balance. With the
    same aim the validation split takes about ``val_fraction`` of the remaining images, at least one group.
    A type of which there are enough groups is in every part; one whose last group is needed for training is
    not validated.

    Args:
        groups, types: of each image.
        folds: how many; 1 makes no test split.
        val_fraction: between 0 and 1.
        seed: decides between equally good distributions.

    Returns:
        The fold of each image, int64 ``[I]``, and the splits of each fold.

    Raises:
        InputError: there are too few groups.
    """
    check_options(folds, val_fraction, seed)
    names, group_of = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    # Two folds leave a single one to train and validate on, which so needs two groups.
    least = 2 if folds == 2 else 1
    needed = max(folds * least, 2)
    if len(names) < needed:
        raise InputError(
            f"--folds {folds} needs at least {needed} groups, as a group is never split, but there are only "
            f"{len(names)}; use fewer folds, or group by another column"
        )
    counts = _count(group_of, types, len(names))
    if folds == 1:
        fold_of_group = np.zeros(len(names), np.int64)
    else:
        fold_of_group = _distribute(counts, np.full(folds, 1 / folds), np.random.default_rng(seed), least)
    splits = [_split(fold, folds, fold_of_group, group_of, counts, val_fraction, seed) for fold in range(folds)]
    return fold_of_group[group_of], splits


def default_folds(groups: int) -> int:
    """Five folds, or as many as there are groups; one where two folds could not be validated."""
    return min(DEFAULT_FOLDS, groups) if groups > 2 else 1


def check_options(folds: int, val_fraction: float, seed: int) -> None:
    """Raise ``InputError`` for numbers that ``make_splits`` cannot use with any images."""
    if folds < 1:
        raise InputError(f"--folds {folds}: expected at least 1")
    if not 0 < val_fraction < 1:
        raise InputError(f"--val {val_fraction:g}: expected a fraction between 0 and 1")
    if seed < 0:
        raise InputError(f"--seed {seed}: expected 0 or more")


def _split(
    fold: int,
    folds: int,
    fold_of_group: np.ndarray,
    group_of: np.ndarray,
    counts: np.ndarray,
    val_fraction: float,
    seed: int,
) -> Split:
    rest = np.flatnonzero(fold_of_group != fold) if folds > 1 else np.arange(len(counts))
    shares = np.array([val_fraction, 1 - val_fraction])
    part = _distribute(counts[rest], shares, np.random.default_rng([seed, fold, folds]), 1)
    role = np.full(len(counts), 2)
    role[rest] = part
    val, train, test = (tuple(np.flatnonzero(role[group_of] == number).tolist()) for number in range(3))
    return Split(train=train, val=val, test=test)


def _count(group_of: np.ndarray, types: Sequence[str], groups: int) -> np.ndarray:
    """Images of each group and type, float64 ``[G, C]``."""
    names, type_of = np.unique(np.asarray(types, dtype=object).astype(str), return_inverse=True)
    counts = np.zeros((groups, len(names)))
    np.add.at(counts, (group_of, type_of), 1)
    return counts


class _Balance:
    """Cost of a distribution: squared differences from the wanted counts, and types that are missing.

    The last part is the training part where there are two: a type with a single group has to be there.
    """

    def __init__(self, counts: np.ndarray, shares: np.ndarray):
        present = counts.sum(0) > 0
        table = np.concatenate((counts[:, present], counts.sum(1, keepdims=True)), axis=1)
        self.counts = table
        self.wanted = shares[:, None] * table.sum(0)
        self.weight = 1 / table.sum(0)
        group_count = (table > 0).sum(0)
        self.required = np.repeat((group_count >= len(shares))[None], len(shares), 0)
        if len(shares) == 2:
            self.required[-1] = True
        self.absent = _ABSENT * float((self.weight * table.sum(0) ** 2).max())

    def cost(self, part: int | np.ndarray, held: np.ndarray) -> np.ndarray:
        """Cost of parts that hold ``held`` ``[..., C]`` images."""
        unbalanced = (self.weight * (held - self.wanted[part]) ** 2).sum(-1)
        return unbalanced + self.absent * (self.required[part] & (held < 0.5)).sum(-1)


def _distribute(counts: np.ndarray, shares: np.ndarray, rng: np.random.Generator, least: int) -> np.ndarray:
    """Part of each group, int64 ``[G]``; every part gets at least ``least`` groups.

    Args:
        counts: images by group and type.
        shares: wanted share of each part, adding up to 1.
        rng: decides between groups of the same size.
        least: groups that no part may have fewer of.
    """
    balance = _Balance(counts, shares)
    order = rng.permutation(len(counts))
    order = order[np.argsort(-counts.sum(1)[order], kind="stable")]
    part_of = np.full(len(counts), -1)
    held = np.zeros_like(balance.wanted)
    parts = np.arange(len(shares))
    for place, group in enumerate(order):
        missing = np.maximum(least - np.bincount(part_of[part_of >= 0], minlength=len(shares)), 0)
        # The last groups go to parts that still need some.
        open_parts = parts[missing > 0] if missing.sum() >= len(order) - place else parts
        after = balance.cost(open_parts, held[open_parts] + balance.counts[group])
        best = open_parts[np.argmin(after - balance.cost(open_parts, held[open_parts]))]
        part_of[group] = best
        held[best] += balance.counts[group]
    while _improve(balance, part_of, held, least):
        pass
    return part_of


def _improve(balance: _Balance, part_of: np.ndarray, held: np.ndarray, least: int) -> bool:
    """Make the best move or exchange, in place; False when none improves the balance."""
    gain, group, part, partner = _best_move(balance, part_of, held, least)
    if len(part_of) <= _SWAP_LIMIT:
        swap = _best_swap(balance, part_of, held)
        if swap[0] < gain:
            gain, group, partner = swap
            part = int(part_of[partner])
    if gain > -1e-9:
        return False
    own = int(part_of[group])
    _move(balance, part_of, held, group, part)
    if partner is not None:
        _move(balance, part_of, held, partner, own)
    return True


def _move(balance: _Balance, part_of: np.ndarray, held: np.ndarray, group: int, part: int) -> None:
    held[part_of[group]] -= balance.counts[group]
    held[part] += balance.counts[group]
    part_of[group] = part


def _best_move(
    balance: _Balance, part_of: np.ndarray, held: np.ndarray, least: int
) -> tuple[float, int, int, int | None]:
    """Change of cost, group and new part of the best move of one group."""
    parts = np.arange(len(held))
    now = balance.cost(parts, held)
    leave = balance.cost(part_of, held[part_of] - balance.counts) - now[part_of]
    join = balance.cost(parts, held[None] + balance.counts[:, None]) - now
    change = leave[:, None] + join
    change[np.arange(len(part_of)), part_of] = np.inf
    change[np.bincount(part_of, minlength=len(held))[part_of] <= least] = np.inf
    group, part = np.unravel_index(np.argmin(change), change.shape)
    return float(change[group, part]), int(group), int(part), None


def _best_swap(balance: _Balance, part_of: np.ndarray, held: np.ndarray) -> tuple[float, int, int]:
    """Change of cost and the two groups of the best exchange."""
    now = balance.cost(np.arange(len(held)), held)
    best = (np.inf, 0, 0)
    for group in range(len(part_of)):
        own = part_of[group]
        difference = balance.counts - balance.counts[group]  # what the own part gains with each other group
        change = balance.cost(own, held[own] + difference) - now[own]
        change = change + balance.cost(part_of, held[part_of] - difference) - now[part_of]
        change[part_of == own] = np.inf
        partner = int(np.argmin(change))
        if change[partner] < best[0]:
            best = (float(change[partner]), group, partner)
    return best
