"""The cell type of an image that holds one type only, voted by the members' boxes."""

from collections.abc import Sequence

import torch
from torch import Tensor

# Detectors propose hundreds of boxes that they hardly believe in, and these carry any label. With the plain sum of
# scores they outvote the confident ones, and a member that proposes many boxes outvotes the others (docs/results.md).
_POWER = 4


def vote_type(found: Sequence[tuple[Tensor, Tensor]], num_types: int) -> int | None:
    """The type that the members agree on most; each member has one vote, shared out by its confident boxes.

    Args:
        found: of each member that proposes, the scores (0 to 1) and the labels (int64) of its boxes, ``[N]`` each.
        num_types: K, labels are below.

    Returns:
        The type, of equal ones the first; None without any box whose score is above 0.
    """
    votes = torch.zeros(num_types, dtype=torch.float64)
    for scores, labels in found:
        own = torch.zeros_like(votes).index_add_(0, labels.cpu(), scores.cpu().double() ** _POWER)
        if own.sum() > 0:
            votes += own / own.sum()
    return int(votes.argmax()) if votes.any() else None
