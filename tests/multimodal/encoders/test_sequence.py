"""Options of the sequence encoder, and what its strides do."""

import pytest
import torch

from cellseg.errors import InputError
from cellseg.multimodal.encoders import SequenceEncoder


@pytest.mark.parametrize(("options", "tokens"), [(dict(), 4), (dict(strides=(1, 3)), 9), (dict(kind="lstm"), 25)])
def test_strides_shorten(options, tokens):
    encoder = SequenceEncoder(2, width=8, **options)
    assert encoder(torch.randn(1, 25, 2)).values.shape == (1, tokens, 8)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["conv", "lstm"])
def test_the_order_of_steps_matters(kind):
    torch.manual_seed(0)
    encoder = SequenceEncoder(2, width=8, kind=kind).eval()
    values = torch.randn(1, 30, 2)
    assert (encoder(values).pooled - encoder(values.flip(1)).pooled).abs().max() > 1e-3


@torch.no_grad()
def test_positions_tell_equal_steps_apart():
    tokens = SequenceEncoder(2, width=8, strides=(1,), kernel=3).eval()(torch.ones(1, 12, 2)).values[0]
    assert (tokens[3] - tokens[6]).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (dict(kind="gru"), "SequenceEncoder: kind: expected 'conv' or 'lstm', found 'gru'"),
        (dict(strides=[]), "SequenceEncoder: strides []: expected one number from 1 on for each block"),
        (dict(strides=[1, 0]), "SequenceEncoder: strides [1, 0]: expected one number from 1 on for each block"),
        (dict(kernel=4), "SequenceEncoder: kernel 4: expected an odd number"),
        (
            dict(kind="lstm", width=7),
            "width 7: the two directions of an LSTM share it; choose an even number",
        ),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(InputError) as caught:
        SequenceEncoder(2, **options)
    assert str(caught.value) == text
