"""The transformer inside the small text and table encoders."""

from torch import Tensor, nn

from cellseg.errors import InputError
from cellseg.multimodal.attention import check_heads, open_empty_rows


class MaskedTransformer(nn.Module):
    """Self-attention layers that normalise first, and a last normalisation; no real token sees a masked one.

    Args:
        owner: whose options these are, for messages.
        width: length of a token.
        layers: 1 or more.
        heads: must divide ``width``.
        dropout: share of what is dropped in training.

    Raises:
        InputError: an option that cannot be used.
    """

    def __init__(self, owner: str, width: int, layers: int, heads: int, dropout: float):
        super().__init__()
        check_heads(owner, width, heads)
        if layers < 1:
            raise InputError(f"{owner}: layers {layers}: expected 1 or more")
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Float ``[B, L, C]`` and bool ``[B, L]`` to float ``[B, L, C]``; what is masked may come out as anything."""
        return self.layers(values, src_key_padding_mask=~open_empty_rows(mask))
