"""Encoder of numbers along time: waveforms, spectra, audio features, laboratory values."""

from collections.abc import Sequence

from mmengine.registry import MODELS
from torch import Tensor, nn

from cellseg.errors import InputError
from cellseg.multimodal.encoders.masked_convolution import MaskedStack
from cellseg.multimodal.encoders.pooling import masked_tokens
from cellseg.multimodal.encoders.positions import sinusoidal_positions
from cellseg.multimodal.encoders.recurrent import MaskedLSTM
from cellseg.multimodal.values import Tokens, full_mask


@MODELS.register_module()
class SequenceEncoder(nn.Module):
    """1-D convolutions, or an LSTM in both directions, over a padded sequence; padding changes nothing.

    Args:
        in_channels: numbers at each step.
        width: channels of the tokens; even with an LSTM.
        kind: ``conv`` (each stride shortens the sequence) or ``lstm`` (a token for each step).
        strides: of ``conv``: step of each residual block, one block for each.
        kernel: of ``conv``: length of the kernels, odd.
        layers: of ``lstm``: LSTMs one on another.
        dropout: share of the tokens' values that is dropped in training.

    Attributes:
        channels: ``width``.

    Raises:
        InputError: an option that cannot be used.
    """

    def __init__(
        self,
        in_channels: int,
        width: int = 128,
        kind: str = "conv",
        strides: Sequence[int] = (2, 2, 2),
        kernel: int = 5,
        layers: int = 1,
        dropout: float = 0.1,
    ):
        super().__init__()
        if kind not in ("conv", "lstm"):
            raise InputError(f"SequenceEncoder: kind: expected 'conv' or 'lstm', found {kind!r}")
        self.channels = width
        self.convolutions = self.lstm = None
        if kind == "lstm":
            self.lstm = MaskedLSTM(in_channels, width, layers, dropout)
        else:
            _check_convolutions(strides, kernel)
            self.convolutions = MaskedStack(in_channels, width, kernel, strides)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tokens:
        """Tokens of sequences.

        Args:
            values: float ``[B, T, C]``.
            mask: bool ``[B, T]``, true where a step is real; None: everywhere. A token is real if any of the steps
                between it and the next is.
        """
        mask = full_mask(values) if mask is None else mask
        if self.convolutions is None:
            return masked_tokens(self.dropout(self.norm(self.lstm(values, mask))), mask)
        features, mask = self.convolutions(values.transpose(1, 2), mask)
        tokens = features.transpose(1, 2) + sinusoidal_positions(mask.shape[1], self.channels, values.device)
        return masked_tokens(self.dropout(self.norm(tokens)), mask)


def _check_convolutions(strides: Sequence[int], kernel: int) -> None:
    if not strides or any(stride < 1 for stride in strides):
        raise InputError(f"SequenceEncoder: strides {list(strides)}: expected one number from 1 on for each block")
    if kernel < 1 or kernel % 2 == 0:
        raise InputError(f"SequenceEncoder: kernel {kernel}: expected an odd number")
