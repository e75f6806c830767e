"""Claims: a pixel that several cells want goes to one of them."""

import torch
from torch import Tensor

from cellseg.errors import InputError
from cellseg.structures import CropMasks
from cellseg.structures.windows import count_true, pixel_positions, repeat_each, true_positions

POLICIES = ("probability", "probability_score", "score", "small_first")

# A table with an entry per image pixel finds the winners fastest. Where it would be large (64 Mpx), or have far more
# entries than the windows have pixels, the pixels in windows are numbered instead.
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
    if policy == "probability":
        key = votes.values
    elif policy == "probability_score":
        key = votes.values * _for_each_pixel(scores.to(votes.values), votes)
    else:
        key = _for_each_pixel(scores if policy == "score" else -wanted.areas(), votes)
    return CropMasks(votes.windows, _winners(key, wanted), votes.image_size)


def _for_each_pixel(values: Tensor, masks: CropMasks) -> Tensor:
    """Values of the instances, ``[N]``, for every pixel of their windows: ``[P]``."""
    return repeat_each(values, torch.diff(masks.offsets), len(masks.values))


def _winners(key: Tensor, wanted: CropMasks) -> Tensor:
    """Which wanted pixels have the largest key of all that want the same, of equals the first: bool ``[P]``."""
    pixel = pixel_positions(wanted.windows, wanted.image_size[1])
    size = wanted.image_size[0] * wanted.image_size[1]
    if size > min(_MAX_TABLE_PIXELS, _SPARSE * len(pixel)):
        used, pixel = torch.unique(pixel, return_inverse=True)
        size = len(used)
    lowest = -torch.inf if key.is_floating_point() else torch.iinfo(key.dtype).min
    key = torch.where(wanted.values, key, lowest)
    best = key.new_full((size,), lowest).scatter_reduce_(0, pixel, key, "amax")
    top = (key == best.index_select(0, pixel)).logical_and_(wanted.values)
    if count_true(top) == count_true(best > lowest):
        return top
    # Some share the largest key. Pixels are stored instance by instance, so the first place is the first instance.
    place = true_positions(top)
    pixel = pixel.index_select(0, place)
    first = place.new_full((size,), len(top)).scatter_reduce_(0, pixel, place, "amin")
    return top.scatter_(0, place, first.index_select(0, pixel) == place)
