"""Claims: a pixel that several cells want goes to one of them."""

import torch
from torch import Tensor

from cellseg.errors import InputError
from cellseg.structures import CropMasks

POLICIES = ("probability", "probability_score", "score", "small_first")

# A table with an entry per image pixel finds contested pixels fastest; larger images number the used pixels instead.
_MAX_TABLE_PIXELS = 1 << 26


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
    instance, pixel = (index[place] for index in wanted.pixel_index())
    contested = _contested(instance, pixel, votes.image_size)
    place, instance, pixel = place[contested], instance[contested], pixel[contested]
    if policy == "probability":
        key = votes.values[place]
    elif policy == "probability_score":
        key = votes.values[place] * scores.to(votes.values)[instance]
    else:
        key = (scores if policy == "score" else -wanted.areas())[instance]
    values = wanted.values.clone()
    values[place[~_winners(key, instance, pixel)]] = False
    return CropMasks(votes.windows, values, votes.image_size)


def _contested(instance: Tensor, pixel: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Which entries of a list of (instance, pixel) share their pixel with another entry: bool ``[K]``."""
    size = image_size[0] * image_size[1]
    if size > _MAX_TABLE_PIXELS:
        used, pixel = torch.unique(pixel, return_inverse=True)
        size = len(used)
    # Whoever is written last stays, and which that is does not matter: all others find somebody else there.
    owner = torch.full((size,), -1, dtype=torch.int32, device=pixel.device)
    owner[pixel] = instance.int()
    other = owner[pixel] != instance
    owner[pixel[other]] = -2
    return owner[pixel] == -2


def _winners(key: Tensor, instance: Tensor, pixel: Tensor) -> Tensor:
    """For each entry whether it has the largest key at its pixel, of equals the lowest instance: bool ``[K]``."""
    used, pixel = torch.unique(pixel, return_inverse=True)
    lowest = -torch.inf if key.is_floating_point() else torch.iinfo(key.dtype).min
    best = key.new_full((len(used),), lowest).scatter_reduce_(0, pixel, key, "amax")
    top = key == best[pixel]
    nobody = torch.iinfo(torch.int64).max
    first = instance.new_full((len(used),), nobody).scatter_reduce_(0, pixel[top], instance[top], "amin")
    return first[pixel] == instance
