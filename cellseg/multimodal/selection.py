"""Which samples to annotate next: those that a model is unsure of, unlike each other, of every modality and class."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cellseg.errors import InputError

# Expected squared distance of two samples drawn at random, once features are scaled: where nothing is known of it.
_TYPICAL = 2.0


def select_samples(
    ids: Sequence[str],
    probabilities: Mapping[str, Tensor],
    features: Mapping[str, Tensor],
    count: int,
    annotated: Mapping[str, Tensor] | None = None,
    class_counts: Sequence[float] | None = None,
    seed: int = 0,
) -> list[str]:
    """Draw samples to annotate, one after another, candidate i with a probability in proportion to ``u_i d_i w_i``.

    - ``u``: uncertainty. The entropy of each modality's probabilities is divided by its mean over the candidates, then
      averaged over the modalities that a candidate has: the modality that a model leans on does not decide alone.
    - ``d``: squared distance to the nearest sample that is annotated or already drawn, so that no two look alike (the
      seeding of k-means++, as in BADGE, Ash et al. 2020). The features of each modality are centred and divided by the
      root of their mean squared length, so that scale and number of features do not matter, and distances are averaged
      over the modalities that two samples share. Where nothing is annotated, drawn or shared, d is 2, which two samples
      drawn at random have on average.
    - ``w``: need of a class, ``sum_k q_ik / (1 + n_k)``, with q the mean of a candidate's probabilities over its
      modalities, and n how many samples of class k are annotated, or drawn by their q.

    Where no candidate is left with a product above 0, all that are left are equally likely. One modality is enough:
    for a segmentation, give the probabilities and features of whole pictures.

    Args:
        ids: of the N candidates, all different.
        probabilities: by modality (or ``fused``) float ``[N, K]``, rows that sum to 1; a row of NaN where a candidate
            lacks the modality. Each candidate has one at least.
        features: by modality float ``[N, C]``; likewise, but a candidate may lack all.
        count: samples to draw, up to N.
        annotated: features of the M samples that are annotated, by the same modalities, float ``[M, C]``; None: none.
        class_counts: annotated samples of each class; None: 0.
        seed: equal seeds draw equal samples.

    Returns:
        Ids in the order in which they were drawn.

    Raises:
        InputError: values that cannot be used; names them.
    """
    _check_ids(ids, count)
    known = {name: _checked(f"probabilities.{name}", values, len(ids)) for name, values in probabilities.items()}
    _check_probabilities(ids, known)
    spots = {name: _checked(f"features.{name}", values, len(ids)) for name, values in features.items()}
    others = _checked_annotated(spots, annotated)
    expected = torch.stack(list(known.values())).nanmean(dim=0)
    counts = _checked_counts(class_counts, expected.shape[1])
    unsure = uncertainty(known)
    near = squared_distances(spots, others).amin(dim=1) if others else None
    drawn: list[int] = []
    generator = torch.Generator().manual_seed(seed)
    for chance in torch.rand(count, generator=generator, dtype=torch.float64).tolist():
        need = (expected / (1 + counts)).sum(dim=1)
        place = _draw(unsure * (_TYPICAL if near is None else near) * need, drawn, chance)
        one = squared_distances(spots, {name: values[[place]] for name, values in spots.items()})[:, 0]
        near = one if near is None else torch.minimum(near, one)
        counts = counts + expected[place]
        drawn.append(place)
    return [ids[place] for place in drawn]


def uncertainty(probabilities: Mapping[str, Tensor]) -> Tensor:
    """Entropy of each modality relative to its mean over the samples, averaged over the modalities of a sample.

    Args:
        probabilities: by modality float ``[N, K]``; NaN where a sample lacks it.

    Returns:
        Float64 ``[N]``, at least 0; 0 where a sample lacks all.
    """
    relative = []
    for values in probabilities.values():
        entropy = -torch.special.xlogy(values.double(), values.double()).sum(dim=1)
        mean = entropy.nanmean()
        relative.append(entropy / mean if mean > 0 else entropy)
    return torch.stack(relative).nanmean(dim=0).clamp(min=0).nan_to_num(0.0)


def squared_distances(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Tensor:
    """Squared distances of scaled features, averaged over the modalities that two samples share.

    Args:
        first: by modality float ``[N, C]``; NaN where a sample lacks it. What they are scaled by follows from these.
        second: the same modalities, float ``[M, C]``.

    Returns:
        Float64 ``[N, M]``; 2 where two samples share no modality.
    """
    found = [
        (values.double()[:, None] - second[name].double()[None]).square().sum(dim=2) / _scale(values.double())
        for name, values in first.items()
    ]
    return torch.stack(found).nanmean(dim=0).nan_to_num(_TYPICAL)


def _scale(values: Tensor) -> Tensor:
    """Mean squared length around the centre; 1 where nothing varies."""
    mean = (values - values.nanmean(dim=0)).square().sum(dim=1).nanmean()
    return mean if mean > 0 else torch.ones_like(mean)


def _draw(score: Tensor, drawn: Sequence[int], chance: float) -> int:
    """The candidate that a number from 0 up to 1 falls upon, each as wide as its score; none that is drawn already."""
    left = torch.ones_like(score)
    left[list(drawn)] = 0
    score = score * left if (score * left).any() else left
    ends = score.cumsum(dim=0)
    place = int((ends <= chance * ends[-1]).sum())
    # Rounding may lead past the last candidate that can be drawn.
    return min(place, int(score.nonzero()[-1]))


def _check_ids(ids: Sequence[str], count: int) -> None:
    if len(set(ids)) < len(ids):
        double = next(name for place, name in enumerate(ids) if name in ids[:place])
        raise InputError(f"ids: {double!r} stands there twice; give every candidate once")
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= len(ids):
        raise InputError(f"count: expected 1 to {len(ids)}, the number of candidates, found {count!r}")


def _checked(name: str, values: Tensor, rows: int) -> Tensor:
    if not isinstance(values, Tensor) or values.ndim != 2 or not values.is_floating_point() or len(values) != rows:
        found = f"{values.dtype} {list(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise InputError(f"{name}: expected a float tensor of {rows} rows and two dimensions, found {found}")
    wrong = values.isinf().any(dim=1) | (values.isnan().any(dim=1) & ~values.isnan().all(dim=1))
    if wrong.any():
        raise InputError(f"{name}: row {int(wrong.nonzero()[0])} holds numbers that are not finite; NaN fills a row")
    return values.detach().double().cpu()


def _check_probabilities(ids: Sequence[str], known: Mapping[str, Tensor]) -> None:
    if not known:
        raise InputError("probabilities: expected those of one modality at least")
    widths = sorted({values.shape[1] for values in known.values()})
    if len(widths) > 1 or widths[0] < 2:
        raise InputError(f"probabilities: expected the same 2 classes or more for all, found {widths}")
    for name, values in known.items():
        wrong = ~values.isnan().all(dim=1) & ((values.sum(dim=1) - 1).abs().ge(1e-3) | values.lt(0).any(dim=1))
        if wrong.any():
            row = int(wrong.nonzero()[0])
            raise InputError(f"probabilities.{name}: those of {ids[row]!r} are below 0 or do not sum to 1")
    nowhere = torch.stack([values.isnan().all(dim=1) for values in known.values()]).all(dim=0)
    if nowhere.any():
        raise InputError(f"probabilities: {ids[int(nowhere.nonzero()[0])]!r} has none; leave it out")


def _checked_annotated(spots: Mapping[str, Tensor], annotated: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    if not spots:
        raise InputError("features: expected those of one modality at least")
    if annotated is None:
        return {}
    if annotated.keys() != spots.keys():
        raise InputError(f"annotated: expected the modalities {', '.join(spots)}, found {', '.join(annotated)}")
    rows = len(next(iter(annotated.values())))
    found = {name: _checked(f"annotated.{name}", annotated[name], rows) for name in spots}
    for name, values in found.items():
        if values.shape[1] != spots[name].shape[1]:
            raise InputError(f"annotated.{name}: expected {spots[name].shape[1]} features, found {values.shape[1]}")
    return found if rows else {}


def _checked_counts(counts: Sequence[float] | None, classes: int) -> Tensor:
    if counts is None:
        return torch.zeros(classes, dtype=torch.float64)
    values = torch.tensor([float(count) for count in counts], dtype=torch.float64)
    if len(values) != classes or not (values.isfinite() & values.ge(0)).all():
        raise InputError(f"class_counts: expected {classes} numbers of at least 0, found {list(counts)}")
    return values
