"""The vote: the members' probabilities become one, pixel by pixel in shared windows."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cellseg.ensemble.evidence.values import ImageEvidence
from cellseg.ensemble.settings import EnsembleSettings
from cellseg.ensemble.votes.calibration import calibrate
from cellseg.ensemble.votes.schemes import SCHEMES
from cellseg.errors import InputError
from cellseg.structures import CropMasks
from cellseg.structures.windows import repeat_each


def vote(
    evidence: Sequence[CropMasks],
    confidence: Tensor,
    weights: Tensor,
    exponent: float | Tensor = 1.0,
    scheme: str = "mean",
) -> CropMasks:
    """Combine what M members say about the same N instances.

    For instance i at pixel x, with weights w, confidences c and probabilities p::

        V_i(x) = sum_m w[m, i] c[m, i]^g p[m, i](x) / sum_m w[m, i] c[m, i]^g

    and 0 where the denominator is 0. With g = 0 confidences do not count, not even a confidence of 0. Other schemes
    give the members the same shares ``w c^g / sum w c^g``, and combine the probabilities in another way.

    Args:
        evidence: float32 probabilities in 0..1 of each member, all in the same windows.
        confidence: float ``[M, N]`` in 0..1.
        weights: float ``[M]`` or ``[M, N]``, 0 or more.
        exponent: g, 0 or more; a number, or one for each instance ``[N]``.
        scheme: ``mean`` (the formula above; with equal weights and g = 0 the plain mean), ``median``, ``majority``,
            ``log_odds`` or ``staple``, see ``cellseg.ensemble.votes.schemes``.

    Returns:
        float32 probabilities in the same windows.

    Raises:
        InputError: evidence, confidences or weights that do not fit together, lie out of range or are NaN, or an
            unknown scheme.
    """
    if scheme not in tuple(SCHEMES):
        raise InputError(f"vote: scheme {scheme!r} is none of {', '.join(SCHEMES)}")
    _check_evidence(evidence)
    shares = voting_shares(confidence, weights, exponent, (len(evidence), len(evidence[0])))
    heard = shares.any(1)
    values = [masks.values for masks, audible in zip(evidence, heard.tolist(), strict=True) if audible]
    if not values or len(values[0]) == 0:
        votes = torch.zeros_like(evidence[0].values)
    else:
        shares, lengths = shares[heard], torch.diff(evidence[0].offsets)
        votes = SCHEMES[scheme](values, shares, lengths)
        silent = ~shares.any(0)
        if silent.any():
            votes[repeat_each(silent, lengths, len(votes))] = 0.0
    # The shares sum to 1 up to rounding, which must not make a probability above 1.
    return CropMasks(evidence[0].windows, votes.clamp_(max=1.0), evidence[0].image_size)


def voting_shares(confidence: Tensor, weights: Tensor, exponent: float | Tensor, shape: tuple[int, int]) -> Tensor:
    """The part of the vote that each member has in each instance: ``w c^g / sum w c^g``.

    Args:
        confidence, weights, exponent: as for ``vote``.
        shape: number of members M and of instances N.

    Returns:
        float64 ``[M, N]``; the members' parts of an instance sum to 1, or are all 0 where the denominator is.

    Raises:
        InputError: another shape, or a value that is out of range or NaN.
    """
    weights, exponent = _check_numbers(confidence, weights, exponent, shape)
    parts = weights * confidence.double().pow(exponent)
    total = parts.sum(0)
    return torch.where(total > 0, parts / total.clamp(min=torch.finfo(torch.float64).tiny), 0.0)


def voting_numbers(evidence: ImageEvidence, settings: EnsembleSettings) -> tuple[Tensor, Tensor, Tensor]:
    """Calibrated confidences and weights ``[M, N]`` and exponents ``[N]`` for the boxes of an image.

    Raises:
        InputError: the evidence lacks a member that has a weight, has one that the settings do not know, or its cell
            types are others.
    """
    if evidence.class_names != settings.class_names:
        raise InputError(f"evidence is for the types {evidence.class_names}, settings for {settings.class_names}")
    active = settings.weight_table().any(1).tolist()
    absent = [name for name, on in zip(settings.members, active, strict=True) if on and name not in evidence.members]
    if absent:
        raise InputError(f"the evidence lacks {', '.join(absent)}, which the settings give a weight")
    unknown = [name for name in evidence.members if name not in settings.members]
    if unknown:
        raise InputError(f"the evidence has {', '.join(unknown)}, which the settings do not know")
    weights = settings.weight_table(evidence.members)[:, evidence.labels]
    confidence = calibrate(evidence.confidence, evidence.members, settings.calibration)
    return confidence, weights, settings.by_label("exponent", evidence.labels)


def _check_evidence(evidence: Sequence[CropMasks]) -> None:
    if not evidence:
        raise InputError("vote: expected the evidence of at least one member, got none")
    for member, masks in enumerate(evidence):
        if not torch.equal(masks.windows, evidence[0].windows) or masks.image_size != evidence[0].image_size:
            raise InputError(f"vote: the windows of member {member} are not those of member 0")
        _check_probabilities(masks, f"vote: evidence of member {member}")


def _check_numbers(
    confidence: Tensor, weights: Tensor, exponent: float | Tensor, shape: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    members, count = shape
    _check_confidence(confidence, shape)
    weights = torch.as_tensor(weights, dtype=torch.float64, device=confidence.device)
    if list(weights.shape) not in ([members], [members, count]):
        expected = f"[{members}] or [{members}, {count}]"
        raise InputError(f"vote: weights should have shape {expected}, found {list(weights.shape)}")
    exponent = torch.as_tensor(exponent, dtype=torch.float64, device=confidence.device)
    if exponent.ndim and list(exponent.shape) != [count]:
        raise InputError(f"vote: exponent should be a number or have shape [{count}], found {list(exponent.shape)}")
    for name, values in (("weights", weights), ("exponent", exponent)):
        if not (values.isfinite() & (values >= 0)).all():
            raise InputError(f"vote: {name} should be finite and 0 or more, found {values.tolist()}")
    return (weights[:, None] if weights.ndim == 1 else weights), exponent


def _check_probabilities(masks: CropMasks, name: str) -> None:
    if masks.dtype != torch.float32:
        raise InputError(f"{name}: expected float32 probabilities, found {masks.dtype}")
    if len(masks.values) == 0:
        return
    low, high = masks.values.aminmax()
    if not (low >= 0 and high <= 1):
        raise InputError(f"{name}: expected probabilities in 0..1, found {low.item():g} to {high.item():g}")


def _check_confidence(confidence: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(confidence.shape) != shape:
        raise InputError(f"vote: confidence should have shape {list(shape)}, found {list(confidence.shape)}")
    bad = ~((confidence >= 0) & (confidence <= 1))
    if bad.any():
        raise InputError(f"vote: confidence should lie in 0..1, found {confidence[bad][0].item():g}")
