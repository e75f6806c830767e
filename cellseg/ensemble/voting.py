"""The vote: a confidence-weighted mean of the members' probabilities, pixel by pixel in shared windows."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cellseg.errors import InputError
from cellseg.structures import CropMasks


def vote(
    evidence: Sequence[CropMasks], confidence: Tensor, weights: Tensor, exponent: float | Tensor = 1.0
) -> CropMasks:
    """Combine what M members say about the same N instances.

    For instance i at pixel x, with weights w, confidences c and probabilities p::

        V_i(x) = sum_m w[m, i] c[m, i]^g p[m, i](x) / sum_m w[m, i] c[m, i]^g

    and 0 where the denominator is 0. With g = 0 confidences do not count, not even a confidence of 0.

    Args:
        evidence: float32 probabilities in 0..1 of each member, all in the same windows.
        confidence: float ``[M, N]`` in 0..1.
        weights: float ``[M]`` or ``[M, N]``, 0 or more.
        exponent: g, 0 or more; a number, or one for each instance ``[N]``.

    Returns:
        float32 probabilities in the same windows.

    Raises:
        InputError: evidence, confidences or weights that do not fit together, lie out of range or are NaN.
    """
    weights, exponent = _check(evidence, confidence, weights, exponent)
    parts = weights * confidence.double().pow(exponent)
    total = parts.sum(0)
    parts = torch.where(total > 0, parts / total.clamp(min=torch.finfo(torch.float64).tiny), 0.0).float()
    lengths = torch.diff(evidence[0].offsets)
    votes = None
    for member, part in zip(evidence, parts, strict=True):
        if part.any():
            share = part.repeat_interleave(lengths, output_size=len(member.values))
            votes = share.mul_(member.values) if votes is None else votes.addcmul_(member.values, share)
    if votes is None:
        votes = torch.zeros_like(evidence[0].values)
    # The parts sum to 1 up to rounding, which must not make a probability above 1.
    return CropMasks(evidence[0].windows, votes.clamp_(max=1.0), evidence[0].image_size)


def _check(
    evidence: Sequence[CropMasks], confidence: Tensor, weights: Tensor, exponent: float | Tensor
) -> tuple[Tensor, Tensor]:
    if not evidence:
        raise InputError("vote: expected the evidence of at least one member, got none")
    count = len(evidence[0])
    for member, masks in enumerate(evidence):
        if not torch.equal(masks.windows, evidence[0].windows) or masks.image_size != evidence[0].image_size:
            raise InputError(f"vote: the windows of member {member} are not those of member 0")
        _check_probabilities(masks, f"vote: evidence of member {member}")
    _check_confidence(confidence, (len(evidence), count))
    weights = torch.as_tensor(weights, dtype=torch.float64, device=confidence.device)
    if list(weights.shape) not in ([len(evidence)], [len(evidence), count]):
        expected = f"[{len(evidence)}] or [{len(evidence)}, {count}]"
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
