"""From an encoder's last values to ``Tokens``."""

from torch import Tensor

from cellseg.multimodal.values import Tokens, full_mask, masked_mean


def tokens_of_map(values: Tensor) -> Tokens:
    """Tokens ``[B, L, C]`` that are all real, pooled by their mean."""
    return Tokens(values, full_mask(values), values.mean(dim=1))


def masked_tokens(values: Tensor, mask: Tensor) -> Tokens:
    """Tokens that are 0 where they are masked, pooled by the mean of the real ones (0 where there is none)."""
    values = values.masked_fill(~mask.unsqueeze(-1), 0)
    return Tokens(values, mask, masked_mean(values, mask))
