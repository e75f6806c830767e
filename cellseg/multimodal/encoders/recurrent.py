"""Recurrent networks over padded sequences."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from cellseg.errors import InputError


class MaskedLSTM(nn.Module):
    """A bidirectional LSTM that runs over the real steps only, wherever the padding stands.

    Args:
        inputs: channels of a step.
        width: channels of a step that comes out, half of it from either direction; even.
        layers: LSTMs one on another.
        dropout: share that is dropped between them in training.

    Raises:
        InputError: ``width`` is odd.
    """

    def __init__(self, inputs: int, width: int, layers: int = 1, dropout: float = 0.0):
        super().__init__()
        if width < 2 or width % 2:
            raise InputError(f"width {width}: the two directions of an LSTM share it; choose an even number")
        between = dropout if layers > 1 else 0.0  # torch warns of a dropout that has no place
        self.lstm = nn.LSTM(inputs, width // 2, layers, batch_first=True, bidirectional=True, dropout=between)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Float ``[B, T, C]`` and bool ``[B, T]`` to float ``[B, T, width]``, 0 where the mask is false."""
        hidden = ~mask.unsqueeze(-1)
        # Packing knows lengths, not masks: real steps move to the front, and back afterwards.
        order = torch.argsort(hidden[..., 0].to(torch.uint8), dim=1, stable=True)
        front = _reorder(values.masked_fill(hidden, 0), order)
        # A sequence of length 0 cannot be packed; it goes along with one step of zeros.
        lengths = mask.sum(dim=1).clamp(min=1).cpu()
        packed = pack_padded_sequence(front, lengths, batch_first=True, enforce_sorted=False)
        steps, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=mask.shape[1])
        return _reorder(steps, order.argsort(dim=1)).masked_fill(hidden, 0)


def _reorder(values: Tensor, order: Tensor) -> Tensor:
    return values.gather(1, order.unsqueeze(-1).expand_as(values))
