"""Ways to make one probability of what the members say, pixel by pixel, under one interface.

A scheme takes the values of each member, float32 ``[P]``, one crop after another in the same windows; each member's
share in the vote on each instance, float64 ``[M, N]``, which sum to 1 for every instance (or are all 0: ``vote`` gives
such an instance 0, whatever a scheme says); and the number of pixels of each instance, int64 ``[N]``. It returns
float32 ``[P]`` in 0..1. A member whose share in an instance is 0 has no influence on it, and members that say the same
vote like one of them: shares sum to 1, so a copy of a member adds nothing.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from cellseg.structures.windows import repeat_each, sum_by_crop

Scheme = Callable[[Sequence[Tensor], Tensor, Tensor], Tensor]

# Sums of shares that should be one half differ from it by rounding, and not in the same way in every order.
_HALF = 0.5 - 1e-5
_SHARE_STEPS = 2.0**20

# Nobody is surer than this: the logit of a certain pixel would outvote everybody else.
_LEAST = 1e-4

# STAPLE settles within a few rounds. A pixel that is as likely inside as outside is outside, whatever rounding says.
_ROUNDS = 30

# What the prior of STAPLE counts beside the members, whose shares sum to 1: as if it were the fifth of five raters. As
# strong as all members together, it makes masks with soft edges smaller in each round: on validation images of phase
# contrast the vote scored 0.24 and 0.22 mAP, with a quarter 0.37 and 0.35 (the mean 0.37 and 0.35).
_PRIOR = 0.25
_TIE = 1e-6


def mean(values: Sequence[Tensor], shares: Tensor, lengths: Tensor) -> Tensor:
    """The weighted mean of the probabilities."""
    return _weighted_sum(values, shares, lengths)


def median(values: Sequence[Tensor], shares: Tensor, lengths: Tensor) -> Tensor:
    """The weighted median: half of the shares say this much or less, half this much or more.

    Where the shares can be halved between two values, it is the middle of the two.
    """
    spread = [repeat_each(share, lengths, len(values[0])) for share in shares.float()]
    lower, upper = torch.ones_like(values[0]), torch.zeros_like(values[0])
    for value in values:
        below, above = torch.zeros_like(value), torch.zeros_like(value)
        for other, share in zip(values, spread, strict=True):
            below.addcmul_(share, (other <= value).float())
            above.addcmul_(share, (other >= value).float())
        lower = torch.minimum(lower, torch.where(below >= _HALF, value, 1.0))
        upper = torch.maximum(upper, torch.where(above >= _HALF, value, 0.0))
    return lower.add_(upper).div_(2)


def majority(values: Sequence[Tensor], shares: Tensor, lengths: Tensor) -> Tensor:
    """The share of the members whose probability is above one half."""
    votes = _weighted_sum(((value > 0.5).float() for value in values), shares, lengths)
    # Half of the members is common, and should be one half exactly in whatever order they are counted.
    return votes.mul_(_SHARE_STEPS).round_().div_(_SHARE_STEPS)


def log_odds(values: Sequence[Tensor], shares: Tensor, lengths: Tensor) -> Tensor:
    """The probability of the weighted mean of the log-odds; probabilities count as 0.0001 to 0.9999."""
    return _weighted_sum((_logit(value) for value in values), shares, lengths).sigmoid_()


def staple(values: Sequence[Tensor], shares: Tensor, lengths: Tensor) -> Tensor:
    """Simultaneous truth and performance level estimation, instance by instance.

    After Warfield, Zou and Wells, IEEE TMI 23 (2004) 903-921: each member sees foreground with a sensitivity and
    background with a specificity of its own, the mask is hidden, and both are found by turns. Here members give
    probabilities, so sums stand for counts of pixels and log-likelihoods are expected ones; shares are the powers of
    the members' likelihoods; the prior is the weighted mean probability in the window, to the power 1/4, as it would be
    beside four members whose likelihoods are multiplied and not averaged; and members are rated against the likelier
    side of each pixel (classification EM), because plain EM takes part of a member's doubt for error in
    every round until all that is left is the prior. Half a pixel is added to every count.
    """
    total = len(values[0])
    sizes, sums = lengths.double(), torch.stack([_sums(value, lengths) for value in values])
    prior = _PRIOR * ((shares * sums).sum(0) / sizes.clamp(min=1)).logit(_LEAST)
    inside = _weighted_sum(values, shares, lengths) > 0.5 + _TIE
    for _ in range(_ROUNDS):
        area = _sums(inside, lengths)
        seen = torch.stack([_sums(value * inside, lengths) for value in values])
        sensitivity = (seen + 0.5) / (area + 1)
        false_alarm = (sums - seen + 0.5) / (sizes - area + 1)
        background = ((1 - sensitivity) / (1 - false_alarm)).log()
        slope = (sensitivity / false_alarm).log() - background
        odds = repeat_each(prior + (shares * background).sum(0), lengths, total)
        for value, step in zip(values, shares * slope, strict=True):
            odds.addcmul_(repeat_each(step, lengths, total), value.double())
        before, inside = inside, odds > _TIE
        if torch.equal(before, inside):
            break
    return odds.sigmoid_().float()


SCHEMES: dict[str, Scheme] = {
    "mean": mean,
    "median": median,
    "majority": majority,
    "log_odds": log_odds,
    "staple": staple,
}


def _logit(values: Tensor) -> Tensor:
    # 1 - p is exact where p is close to 1; the logit of a rounded 0.9999 would be wrong in the fourth digit.
    low, high = _LEAST, 1 - _LEAST
    return values.clamp(low, high).log_() - (1 - values).clamp_(low, high).log_()


def _weighted_sum(values: Iterable[Tensor], shares: Tensor, lengths: Tensor) -> Tensor:
    votes = None
    for value, share in zip(values, shares.float(), strict=True):
        part = repeat_each(share, lengths, len(value))
        votes = part.mul_(value) if votes is None else votes.addcmul_(value, part)
    return votes


def _sums(values: Tensor, lengths: Tensor) -> Tensor:
    """Sum over the pixels of each instance, float64 ``[N]``."""
    return sum_by_crop(values.double(), torch.nn.functional.pad(lengths.cumsum(0), (1, 0)))
