"""Claims: a pixel that several cells want goes to one of them."""

import torch
from torch import Tensor

from cellseg.errors import InputError
from cellseg.structures import CropMasks

POLICIES = ("probability", "probability_score", "score", "small_first")

# Tables with an entry per image pixel find the winners fastest. Where they would be large (64 Mpx), or have far more
# entries than the masks have pixels, the pixels that are wanted are numbered instead.
_MAX_TABLE_PIXELS = 1 << 26
_SPARSE = 64


def claim_pixels(votes: CropMasks, scores: Tensor, threshold: float | Tensor, policy: str = "probability") -> CropMasks:
    """Masks without overlaps: an instance wants the pixels whose vote exceeds its threshold, and one gets each.

    Args:
        votes: N instances, float32 probabilities.
        scores: float ``[N]``, for the policies that ask for them.
        threshold: a number, or one for each instance ``[N]``.
        policy: who gets a contested pixel: the instance with the highest vote there (``probability``), the highest
            vote x score (``probability_score``), the highest score (``score``) or the one that wants the fewest
            pixels (``small_first``). Of equals the first.

    Returns:
        Bool masks in the windows of the votes; a mask may come out empty.

    Raises:
        InputError: an unknown policy, or scores of another length or NaN.
    """
    if policy not in POLICIES:
        raise InputError(f"claim policy {policy!r} is none of {', '.join(POLICIES)}")
    if list(scores.shape) != [len(votes)] or not scores.isfinite().all():
        raise InputError(f"claim: scores should be finite and have shape [{len(votes)}], found {list(scores.shape)}")
    wanted = votes.threshold(threshold)
    place = wanted.values.nonzero()[:, 0]
    # On the CPU, index_select is several times faster than indexing with brackets.
    instance, pixel = (index.index_select(0, place) for index in wanted.pixel_index())
    if policy in ("probability", "probability_score"):
        key = votes.values.index_select(0, place)
        if policy == "probability_score":
            key = key * scores.to(votes.values).index_select(0, instance)
    else:
        key = (scores if policy == "score" else -wanted.areas()).index_select(0, instance)
    values = wanted.values.scatter(0, place, _wins(key, instance, pixel, votes.image_size))
    return CropMasks(votes.windows, values, votes.image_size)


def _wins(key: Tensor, instance: Tensor, pixel: Tensor, image_size: tuple[int, int]) -> Tensor:
    """For each entry whether it has the largest key at its pixel, of equals the lowest instance: bool ``[K]``."""
    size = image_size[0] * image_size[1]
    if size > min(_MAX_TABLE_PIXELS, _SPARSE * len(pixel)):
        used, pixel = torch.unique(pixel, return_inverse=True)
        size = len(used)
    lowest = -torch.inf if key.is_floating_point() else torch.iinfo(key.dtype).min
    best = key.new_full((size,), lowest).scatter_reduce_(0, pixel, key, "amax")
    nobody = torch.iinfo(torch.int32).max
    leader = torch.where(key == best.index_select(0, pixel), instance.int(), nobody)
    first = leader.new_full((size,), nobody).scatter_reduce_(0, pixel, leader, "amin")
    return first.index_select(0, pixel) == instance
