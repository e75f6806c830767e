"""Fusions of vectors side by side: middle (concatenated after the encoders) and early (before a shared network)."""

from collections.abc import Mapping

from mmengine.registry import MODELS
from torch import Tensor, nn

from cellseg.errors import InputError
from cellseg.multimodal.fusion.base import Fusion, hide_tokens, pooled_vectors
from cellseg.multimodal.values import Fused, Tokens


@MODELS.register_module()
class ConcatFusion(Fusion):
    """Concatenated pooled vectors and a linear layer: cross-attention's ablation, or middle fusion.

    Between the two stand ``layers`` residual blocks, ``x + W2 gelu(W1 LN(x))``, each with as many weights as a layer of
    ``CrossAttentionFusion`` with the same ``feedforward``, so that a comparison shows what attention does and not what
    size does. Tokens come out as they were projected.

    Args:
        channels: see ``Fusion``.
        width: see ``Fusion``.
        layers: blocks; 0: the concatenation goes straight into the linear layer.
        feedforward: as that of the cross-attention which this is compared with.
        dropout: share of the hidden units that is dropped in training.

    Raises:
        InputError: an option that cannot be used.
    """

    def __init__(
        self, channels: Mapping[str, int], width: int, layers: int = 2, feedforward: int = 4, dropout: float = 0.1
    ):
        super().__init__(channels, width)
        if layers < 0:
            raise InputError(f"ConcatFusion: layers {layers}: expected 0 or more")
        joined = len(self.names) * width
        # For each modality, attention has 4 matrices of width x width and the feed-forward network 2 x feedforward;
        # a block here has 2 of (modalities x width) x hidden.
        hidden = (2 + feedforward) * width
        self.blocks = nn.ModuleList(_residual(joined, hidden, dropout) for _ in range(layers))
        self.join = nn.Linear(joined, width)

    def fuse(self, encoded: Mapping[str, Tokens], projected: Mapping[str, Tokens]) -> Fused:
        """See ``Fusion.fuse``."""
        joined = pooled_vectors(projected).flatten(1)
        for block in self.blocks:
            joined = joined + block(joined)
        return Fused(self.join(joined), projected, encoded)


@MODELS.register_module()
class EarlyFusion(Fusion):
    """Features are concatenated before anything is learned of them; one shared network does all the rest.

    A linear layer over a concatenation is the sum of linear layers over its parts, which is how its first layer is
    written; tokens go through the same network, each in the place of its modality.

    Args:
        channels: see ``Fusion``.
        width: see ``Fusion``.
        layers: of the shared network, the first one included.
        dropout: share that is dropped in training after each layer.

    Raises:
        InputError: an option that cannot be used.
    """

    def __init__(self, channels: Mapping[str, int], width: int, layers: int = 3, dropout: float = 0.1):
        super().__init__(channels, width)
        if layers < 2:
            raise InputError(f"EarlyFusion: layers {layers}: expected 2 or more, the first of which joins the features")
        steps: list[nn.Module] = []
        for _ in range(layers - 1):
            steps += [nn.LayerNorm(width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width)]
        self.shared = nn.Sequential(*steps)

    def fuse(self, encoded: Mapping[str, Tokens], projected: Mapping[str, Tokens]) -> Fused:
        """See ``Fusion.fuse``."""
        pooled = self.shared(pooled_vectors(projected).sum(dim=1))
        tokens = {name: self._shared_tokens(each) for name, each in projected.items()}
        return Fused(pooled, tokens, encoded)

    def _shared_tokens(self, tokens: Tokens) -> Tokens:
        values: Tensor = self.shared(tokens.values)
        rows = tokens.mask.any(dim=1, keepdim=True)
        return Tokens(hide_tokens(values, tokens.mask), tokens.mask, self.shared(tokens.pooled).masked_fill(~rows, 0))


def _residual(width: int, hidden: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width)
    )
