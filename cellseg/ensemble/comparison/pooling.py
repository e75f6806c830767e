"""Comparisons of several folds and seeds as one: means, spread over seeds, paired intervals over groups.

Comparisons of the same images are seeds of one fold; comparisons of different images are different folds. The first
comparison of each fold makes the first seed, and so on, in the order in which they are given.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellseg.ensemble.comparison.file import ENSEMBLE, VARIANT, StoredComparison, StoredRow, read_comparison
from cellseg.errors import InputError
from cellseg.metrics.bootstrap import mean_interval, paired_difference

BEST_SINGLE = "best single member"


@dataclass(frozen=True)
class PooledRow:
    """One row over all images, each image's score being the mean over the seeds.

    Attributes:
        name: as in the comparisons, or ``best single member``.
        map, ap50, ap75: mean over images.
        interval: 95% of the mean over draws of groups; None with one group.
        per_seed: mAP over all images of each seed.
        per_type: mAP by cell type.
        difference: mAP of the ensemble minus this row's; None for the ensemble.
        difference_interval: its 95% interval, paired by image, groups drawn with all their images and seeds; None for
            the ensemble and with one group.
        chosen: for the best single member: which one it was in each comparison, in the order of ``Pool.files``.
    """

    name: str
    map: float
    ap50: float
    ap75: float
    interval: tuple[float, float] | None
    per_seed: tuple[float, ...]
    per_type: Mapping[str, float]
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None
    chosen: tuple[str, ...] | None = None

    @property
    def spread(self) -> float | None:
        """Standard deviation of the mAP over seeds (n - 1); None with one seed."""
        return float(np.std(self.per_seed, ddof=1)) if len(self.per_seed) > 1 else None


@dataclass(frozen=True)
class Pool:
    """Pooled rows: those of the comparisons, the ensemble last, then the best single member where it is known.

    Attributes:
        rows: see above.
        images: how many different images there are.
        groups: how many different groups.
        folds: how many sets of images.
        seeds: comparisons of each set.
        split: that all comparisons are of.
        files: what was pooled, in the order given: the file with its folder, and the SHA-256 of its content.
    """

    rows: tuple[PooledRow, ...]
    images: int
    groups: int
    folds: int
    seeds: int
    split: str
    files: tuple[tuple[str, str], ...]


def pool_comparisons(paths: Sequence[str | Path]) -> Pool:
    """Pool ``comparison.json`` files of ``tools/compare.py``.

    The best single member is the one with the best score on the tuning images of each comparison, not on the images
    that are compared here: choosing by these would flatter it.

    Raises:
        MissingFileError: a file does not exist.
        InputError: a file is no comparison, comes twice, has other rows, another split or other groups than the first,
            shares some of its images with another one, or folds have different numbers of seeds; names the file.
    """
    if not paths:
        raise InputError("no comparisons to pool")
    comparisons = [read_comparison(path) for path in paths]
    return _pool(comparisons, comparisons)


def pool_ensembles(named: Sequence[tuple[str, str | Path]]) -> Pool:
    """Pool comparisons of different ensembles on the same images, a row for each ensemble.

    Args:
        named: name of an ensemble and a ``comparison.json`` of it; a name comes once for each fold and seed, and the
            files of all names are in the same order. Differences are to the ensemble that is named last.

    Raises:
        MissingFileError: a file does not exist.
        InputError: as ``pool_comparisons``; fewer than two ensembles, different numbers of files, or files of other
            images; names the file.
    """
    by_name: dict[str, list[StoredComparison]] = {}
    for name, path in named:
        by_name.setdefault(name, []).append(read_comparison(path))
    if len(by_name) < 2:
        raise InputError("only one ensemble is named; name at least two, NAME=COMPARISON.json")
    counts = {name: len(own) for name, own in by_name.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise InputError(f"different numbers of comparisons ({listed}); give each ensemble the same folds and seeds")
    joined = [_beside(dict(zip(by_name, own, strict=True))) for own in zip(*by_name.values(), strict=True)]
    return _pool(joined, [comparison for own in by_name.values() for comparison in own])


def _beside(comparisons: Mapping[str, StoredComparison]) -> StoredComparison:
    """One comparison whose rows are the ensembles of several ones of the same images."""
    first, *others = comparisons.values()
    for other in others:
        if set(other.images) != set(first.images) or other.split != first.split:
            raise InputError(f"{other.path}: of other images than {first.path}; give the files in the same order")
    rows = []
    for name, comparison in comparisons.items():
        row = comparison.reordered(first.images).rows[-1]
        rows.append(replace(row, name=name, kind=VARIANT))
    rows[-1] = replace(rows[-1], kind=ENSEMBLE)
    return replace(first, rows=tuple(rows))


def _pool(comparisons: Sequence[StoredComparison], read: Sequence[StoredComparison]) -> Pool:
    """Pool comparisons that were made of those which were read."""
    _check_alike(comparisons)
    folds = _by_images(comparisons)
    groups = [group for fold in folds for group in fold[0].groups]
    types = [kind for fold in folds for kind in fold[0].cell_types]
    pooler = _Pooler(folds, groups, types)
    names = [row.name for row in comparisons[0].rows]
    rows = [pooler.row(name, lambda comparison, name=name: comparison.row(name)) for name in names]
    chosen = [comparison.best_single() for comparison in comparisons]
    if None not in chosen:
        best = pooler.row(BEST_SINGLE, StoredComparison.best_single)
        rows.append(replace(best, chosen=tuple(row.name for row in chosen)))
    return Pool(
        rows=tuple(rows),
        images=len(groups),
        groups=len(set(groups)),
        folds=len(folds),
        seeds=len(folds[0]),
        split=comparisons[0].split,
        files=tuple(("/".join(Path(one.path).parts[-2:]), one.sha256) for one in read),
    )


class _Pooler:
    """Makes pooled rows from comparisons sorted by fold and seed."""

    def __init__(self, folds: Sequence[Sequence[StoredComparison]], groups: Sequence[str], types: Sequence[str]):
        self._folds, self._groups, self._types = folds, groups, types
        ensemble = folds[0][0].rows[-1].name
        self._ensemble = self._scores(lambda comparison: comparison.row(ensemble), "per_image").mean(0)
        self._ensemble_name = ensemble

    def row(self, name: str, choose: Callable[[StoredComparison], StoredRow]) -> PooledRow:
        by_seed = self._scores(choose, "per_image")
        per_image = by_seed.mean(0)
        difference = interval = difference_interval = None
        if name != self._ensemble_name:
            difference = float((self._ensemble - per_image).mean())
        if len(set(self._groups)) > 1:
            interval = mean_interval(per_image, self._groups)[1:]
            if difference is not None:
                difference_interval = paired_difference(self._ensemble, per_image, self._groups)[1:]
        return PooledRow(
            name=name,
            map=float(per_image.mean()),
            ap50=float(self._scores(choose, "per_image_ap50").mean()),
            ap75=float(self._scores(choose, "per_image_ap75").mean()),
            interval=interval,
            per_seed=tuple(by_seed.mean(1).tolist()),
            per_type={
                kind: float(per_image[[own == kind for own in self._types]].mean()) for kind in sorted(set(self._types))
            },
            difference=difference,
            difference_interval=difference_interval,
        )

    def _scores(self, choose: Callable[[StoredComparison], StoredRow], name: str) -> NDArray[np.float64]:
        """One kind of score, float64 ``[seeds, images]``, the images fold by fold."""
        parts = [[getattr(choose(comparison), name) for comparison in fold] for fold in self._folds]
        return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts], axis=1)


def _check_alike(comparisons: Sequence[StoredComparison]) -> None:
    """Refuse what cannot be put together, or would count twice."""
    first = comparisons[0]
    seen: dict[tuple, str] = {}
    for comparison in comparisons:
        content = (frozenset(comparison.images), comparison.reordered(sorted(comparison.images)).rows)
        if content in seen:
            raise InputError(f"{comparison.path}: the same comparison as {seen[content]}; give each one once")
        seen[content] = comparison.path
        if comparison.split != first.split:
            raise InputError(
                f"{comparison.path}: of the split {comparison.split!r}, {first.path} of {first.split!r}; pool one split"
            )
        names, expected = ([(row.name, row.kind) for row in one.rows] for one in (comparison, first))
        if names != expected:
            mine, other = (", ".join(row.name for row in one.rows) for one in (comparison, first))
            raise InputError(
                f"{comparison.path}: its rows are {mine}; {first.path} has {other}; pool comparisons of one ensemble "
                "config, made with the same options"
            )


def _by_images(comparisons: Sequence[StoredComparison]) -> list[list[StoredComparison]]:
    """Comparisons of the same images together, each with its images in the order of the first one's."""
    folds: list[list[StoredComparison]] = []
    for comparison in comparisons:
        images = set(comparison.images)
        for fold in folds:
            known = set(fold[0].images)
            if images == known:
                fold.append(_in_order(comparison, fold[0]))
                break
            if shared := sorted(images & known):
                raise InputError(
                    f"{comparison.path}: shares {len(shared)} of its {len(images)} images with {fold[0].path} "
                    f"({shared[0]}, for example); pool comparisons of the same images or of different ones"
                )
        else:
            folds.append([comparison])
    for fold in folds:
        if len(fold) != len(folds[0]):
            raise InputError(
                f"{fold[-1].path}: {_count(len(fold))} of its images, but {_count(len(folds[0]))} of the images of "
                f"{folds[0][0].path}; give every fold the same number of seeds"
            )
    return folds


def _in_order(comparison: StoredComparison, first: StoredComparison) -> StoredComparison:
    ordered = comparison.reordered(first.images)
    for name in ("groups", "cell_types"):
        mine, other = getattr(ordered, name), getattr(first, name)
        if mine != other:
            image = next(key for key, a, b in zip(first.images, mine, other, strict=True) if a != b)
            raise InputError(
                f"{comparison.path}: image {image}: other {name.replace('_', ' ')} than in {first.path}; prepare the "
                "data once and compare on that"
            )
    return ordered


def _count(number: int) -> str:
    return "1 comparison" if number == 1 else f"{number} comparisons"
