"""Uncertainty of each cell: how far the members that vote on it disagree."""

from itertools import combinations

import torch
from torch import Tensor

from cellseg.ensemble.evidence.values import ImageEvidence
from cellseg.ensemble.settings import EnsembleSettings
from cellseg.ensemble.votes.voting import voting_numbers, voting_shares
from cellseg.structures.windows import sum_by_crop


def disagreement(evidence: ImageEvidence, settings: EnsembleSettings, places: Tensor | None = None) -> Tensor:
    """How different two members' opinions of a cell are, on average over pairs of members.

    With the members' shares s in the vote and their probabilities p in the cell's window::

        U_i = 1 - sum_{m<n} s[m,i] s[n,i] J_i(m,n) / sum_{m<n} s[m,i] s[n,i]
        J_i(m,n) = sum_x min(p[m,i](x), p[n,i](x)) / sum_x max(p[m,i](x), p[n,i](x))

    0: all say the same; 1: no two see a common pixel. It does not depend on the voting scheme, and 1 - U predicts the
    IoU with the true cell.

    Args:
        evidence: of an image.
        settings: for weights, exponents and calibration.
        places: int64 ``[N]``, which boxes of the evidence are asked for; None: all.

    Returns:
        float32 ``[N]`` in 0..1. Where the vote is one member's alone, nobody disagrees and it is 0, which says nothing.

    Raises:
        InputError: evidence and settings do not fit together.
    """
    shares = voting_shares(*voting_numbers(evidence, settings), (len(evidence.members), len(evidence)))
    places = torch.arange(len(evidence)) if places is None else places
    shares = shares[:, places]
    voters = shares.any(1).nonzero()[:, 0].tolist()
    crops = {index: evidence.evidence[index][places] for index in voters}
    sums = {index: masks.sums() for index, masks in crops.items() if len(voters) > 1}
    agreement, total = torch.zeros(2, len(places), dtype=torch.float64)
    for first, second in combinations(voters, 2):
        smaller = torch.minimum(crops[first].values, crops[second].values)
        common = sum_by_crop(smaller, crops[first].offsets)
        union = sums[first] + sums[second] - common
        weight = shares[first] * shares[second]
        # Two members that see nothing at all agree.
        agreement += weight * torch.where(union > 0, common / union.clamp(min=1e-12), 1.0)
        total += weight
    uncertain = torch.where(total > 0, 1 - agreement / total.clamp(min=1e-300), 0.0)
    return uncertain.clamp(0, 1).float()
