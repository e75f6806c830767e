"""What embeddings of pairs are trained with: contrastive, InfoNCE or hinge loss with their settings."""

import math

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from cellseg.errors import InputError
from cellseg.multimodal.heads.base import check_choice, check_positive
from cellseg.multimodal.losses import contrastive_loss, hinge_loss, info_nce

# CLIP's bounds on the factor before the softmax; above, the gradients of a few pairs drown all others.
_LARGEST_FACTOR = 100.0


class PairLoss(nn.Module):
    """From the embeddings of a batch to one loss."""

    def forward(self, first: Tensor, second: Tensor, paired: Tensor, positives: Tensor) -> Tensor:
        """The loss.

        Args:
            first: ``[N, C]``, of length 1.
            second: ``[N, C]``, likewise.
            paired: ``[N]``, 1 where the two parts of a sample belong together.
            positives: bool ``[N, N]``, which parts do across the batch.
        """
        raise NotImplementedError


@MODELS.register_module()
class PairContrastive(PairLoss):
    """``y D^p + (1 - y) max(0, m - D)^p``, with the Euclidean distance D (between 0 and 2) of the embeddings.

    Args:
        margin: m, above 0.
        power: p, 1 (as the paper prints it) or 2 (usual).
        pairs: ``samples``: the pairs that stand in the batch; the data must hold wrong ones, or nothing keeps all
            embeddings from becoming one. ``batch``: each first part with each second one, the mean over pairs and the
            mean over the others counting half each, as the others are many more.

    Raises:
        InputError: an option that cannot be used.
    """

    def __init__(self, margin: float = 1.0, power: int = 2, pairs: str = "samples"):
        super().__init__()
        if power not in (1, 2):
            raise InputError(f"power: expected 1 or 2, found {power!r}")
        self.margin, self.power = check_positive("margin", margin), power
        self.across = check_choice("pairs", pairs, ("samples", "batch")) == "batch"

    def forward(self, first: Tensor, second: Tensor, paired: Tensor, positives: Tensor) -> Tensor:
        """See ``PairLoss``."""
        first, second = first.float(), second.float()
        if self.across:
            # The faster way by products loses small distances.
            distances = torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")
            halves = [
                contrastive_loss(distances[chosen], positives[chosen], self.margin, self.power)
                for chosen in (positives, ~positives)
                if chosen.any()
            ]
            return torch.stack(halves).mean()
        distances = torch.linalg.vector_norm(first - second, dim=1)
        return contrastive_loss(distances, paired, self.margin, self.power)


@MODELS.register_module()
class PairInfoNCE(PairLoss):
    """InfoNCE in both directions over the batch.

    Args:
        temperature: above 0; similarities are divided by it.
        learned: whether training changes the temperature (not below 0.01), as CLIP does.

    Raises:
        InputError: an option that cannot be used.
    """

    def __init__(self, temperature: float = 0.07, learned: bool = True):
        super().__init__()
        factor = torch.tensor(-math.log(check_positive("temperature", temperature)))
        self.log_factor = nn.Parameter(factor, requires_grad=learned)

    def forward(self, first: Tensor, second: Tensor, paired: Tensor, positives: Tensor) -> Tensor:
        """See ``PairLoss``."""
        factor = self.log_factor.exp()
        factor = factor.clamp(max=_LARGEST_FACTOR) if self.log_factor.requires_grad else factor
        return info_nce(first.float() @ second.float().t() * factor, positives)


@MODELS.register_module()
class PairHinge(PairLoss):
    """A pair is to be more similar, by a margin, than what its parts form with others of the batch.

    Args:
        margin: above 0, of cosine similarities.
        negatives: ``hardest`` or ``all``.

    Raises:
        InputError: an option that cannot be used.
    """

    def __init__(self, margin: float = 0.2, negatives: str = "hardest"):
        super().__init__()
        self.margin = check_positive("margin", margin)
        self.negatives = check_choice("negatives", negatives, ("hardest", "all"))

    def forward(self, first: Tensor, second: Tensor, paired: Tensor, positives: Tensor) -> Tensor:
        """See ``PairLoss``."""
        return hinge_loss(first.float() @ second.float().t(), positives, self.margin, self.negatives)
