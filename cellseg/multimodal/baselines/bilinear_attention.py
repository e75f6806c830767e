"""Dual attention, read as a bilinear attention network: every pair of an image and a text token has a weight.

Kim, Jun, Zhang 2018, "Bilinear attention networks" (BAN), sections 3 and 4.
"""

from collections.abc import Mapping

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from cellseg.multimodal.baselines.pair import StandIn, check_pair, shown
from cellseg.multimodal.fusion.base import Fusion, hide_tokens, repooled
from cellseg.multimodal.heads.base import check_count
from cellseg.multimodal.values import Fused, Tokens


class BilinearMaps(nn.Module):
    """Attention over all pairs of tokens, one map a glimpse.

    With text tokens ``x_i`` and image tokens ``y_j``, the map of glimpse g is the softmax over all real pairs of
    ``p_g . (relu(U x_i) * relu(V y_j))``.

    Args:
        text_channels: length of ``x_i``.
        image_channels: length of ``y_j``.
        rank: length of the products.
        glimpses: number of maps, G.
        dropout: share of the products' factors that is dropped in training.
    """

    def __init__(self, text_channels: int, image_channels: int, rank: int, glimpses: int, dropout: float):
        super().__init__()
        self.from_text = _factor(text_channels, rank, dropout)
        self.from_image = _factor(image_channels, rank, dropout)
        self.glimpses = nn.Parameter(torch.randn(glimpses, rank) * rank**-0.5)

    def forward(self, text: Tensor, text_mask: Tensor, image: Tensor, image_mask: Tensor) -> Tensor:
        """The maps ``[B, G, T, N]``; each sums to 1 over the real pairs, of which there is at least one.

        Args:
            text: ``[B, T, C]``.
            text_mask: bool ``[B, T]``.
            image: ``[B, N, D]``.
            image_mask: bool ``[B, N]``.
        """
        questions = torch.einsum("btk,gk->bgtk", self.from_text(text), self.glimpses)
        scores = torch.einsum("bgtk,bnk->bgtn", questions, self.from_image(image))
        pairs = text_mask.unsqueeze(2) & image_mask.unsqueeze(1)
        scores = scores.masked_fill(~pairs.unsqueeze(1), -torch.inf)
        return scores.flatten(2).softmax(dim=2).view_as(scores)


class BilinearGlimpse(nn.Module):
    """What is read through one map: ``P (sum_ij A_ij relu(U x_i) * relu(V y_j))``.

    Args:
        text_channels: length of ``x_i``.
        image_channels: length of ``y_j``.
        width: of the products and of the result.
        dropout: share of the products' factors that is dropped in training.
    """

    def __init__(self, text_channels: int, image_channels: int, width: int, dropout: float):
        super().__init__()
        self.from_text = _factor(text_channels, width, dropout)
        self.from_image = _factor(image_channels, width, dropout)
        self.out = nn.Linear(width, width)

    def forward(self, text: Tensor, image: Tensor, attention: Tensor) -> Tensor:
        """Float ``[B, width]`` of text ``[B, T, C]``, image ``[B, N, D]`` and attention ``[B, T, N]``."""
        products = torch.einsum("btk,btn,bnk->bk", self.from_text(text), attention, self.from_image(image))
        return self.out(products)


@MODELS.register_module()
class BilinearAttentionNetwork(Fusion):
    """BAN as a fusion: glimpse after glimpse is added to all text tokens.

    ``f_0`` are the text tokens, ``f_(g+1) = f_g + glimpse_g(f_g, image; A_g)``, the maps ``A_g`` come from ``f_0``; the
    fused representation is the sum of the last ``f`` over the real text tokens. The maps stand in
    ``attention["text<-image/0"]`` (by the names of the modalities) with the glimpses as heads; unlike other weights
    they sum to 1 over all pairs, not over the keys of each query.

    Args:
        channels: see ``Fusion``; of an image and a text.
        width: see ``Fusion``.
        image: name of the one modality.
        text: name of the other.
        glimpses: number of maps.
        rank: of the maps; None for three times the width.
        dropout: share of the products' factors that is dropped in training.

    Raises:
        InputError: other modalities than these two, or a number below 1.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        width: int,
        image: str = "image",
        text: str = "text",
        glimpses: int = 4,
        rank: int | None = None,
        dropout: float = 0.2,
    ):
        super().__init__(channels, width)
        check_pair("BilinearAttentionNetwork", channels, image, text)
        check_count("glimpses", glimpses)
        rank = check_count("rank", 3 * width if rank is None else rank)
        self.image, self.text = image, text
        self.stand_in = nn.ModuleDict({name: StandIn(width) for name in (image, text)})
        self.maps = BilinearMaps(width, width, rank, glimpses, dropout)
        self.glimpses = nn.ModuleList(BilinearGlimpse(width, width, width, dropout) for _ in range(glimpses))

    def fuse(self, encoded: Mapping[str, Tokens], projected: Mapping[str, Tokens]) -> Fused:
        """See ``Fusion.fuse``."""
        image_tokens, text_tokens = projected[self.image], projected[self.text]
        image, image_mask = self.stand_in[self.image](image_tokens.values, image_tokens.mask)
        text, text_mask = self.stand_in[self.text](text_tokens.values, text_tokens.mask)
        maps = self.maps(text, text_mask, image, image_mask)
        for index, glimpse in enumerate(self.glimpses):
            text = text + glimpse(text, image, maps[:, index]).unsqueeze(1)
        pooled = hide_tokens(text, text_mask).sum(dim=1)
        tokens = {
            self.image: image_tokens,
            self.text: repooled(text[:, : text_tokens.mask.shape[1]], text_tokens.mask),
        }
        attention = shown(maps, text_tokens.mask, image_tokens.mask)
        return Fused(pooled, tokens, encoded, {f"{self.text}<-{self.image}/0": attention})


def _factor(channels: int, width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, width), nn.ReLU())
