"""The small text encoders: word order, long texts, and the transformer against a plain one."""

import pytest
import torch
from torch.nn.functional import gelu

from cellseg.errors import InputError
from cellseg.multimodal.encoders import LSTMEncoder, TextTransformerEncoder


@torch.no_grad()
@pytest.mark.parametrize("kind", [TextTransformerEncoder, LSTMEncoder])
def test_the_order_of_words_matters(kind):
    torch.manual_seed(0)
    encoder = kind(20, width=8).eval()
    words = torch.tensor([[3, 4, 5], [5, 4, 3]])
    pooled = encoder(words).pooled
    assert (pooled[0] - pooled[1]).abs().max() > 1e-3


@torch.no_grad()
def test_transformer_equals_a_plain_one():
    torch.manual_seed(2)
    encoder = TextTransformerEncoder(20, width=6, layers=2, heads=2, max_length=5).eval()
    words = torch.tensor([3, 4, 9, 4])
    tokens = encoder.words.weight[words] + encoder.positions[:4]
    network = encoder.transformer.layers
    for layer in network.layers:
        inner = layer.norm1(tokens)
        attention = layer.self_attn
        q, k, v = (inner @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, dim=1)
        read = [(q[:, part] @ k[:, part].T / 3**0.5).softmax(dim=1) @ v[:, part] for part in (slice(0, 3), slice(3, 6))]
        tokens = tokens + attention.out_proj(torch.cat(read, dim=1))
        tokens = tokens + layer.linear2(gelu(layer.linear1(layer.norm2(tokens))))
    torch.testing.assert_close(encoder(words[None]).values[0], network.norm(tokens), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", [TextTransformerEncoder, LSTMEncoder])
def test_words_begin_as_small_as_positions(kind):
    assert 0.018 < kind(100, width=32).words.weight.std() < 0.022
    assert 0.018 < TextTransformerEncoder(20, width=32).positions.std() < 0.022


def test_a_long_text_is_refused():
    with pytest.raises(InputError) as caught:
        TextTransformerEncoder(20, width=8, max_length=4)(torch.zeros(1, 5, dtype=torch.long))
    assert str(caught.value) == (
        "TextTransformerEncoder: a text of 5 tokens, but max_length is 4; cut the text or raise it"
    )


@pytest.mark.parametrize(
    ("kind", "options", "text"),
    [
        (
            TextTransformerEncoder,
            dict(width=10, heads=4),
            "TextTransformerEncoder: width 10 cannot be split among 4 heads; choose a multiple",
        ),
        (TextTransformerEncoder, dict(layers=0), "TextTransformerEncoder: layers 0: expected 1 or more"),
        (LSTMEncoder, dict(width=9), "width 9: the two directions of an LSTM share it; choose an even number"),
    ],
)
def test_bad_options(kind, options, text):
    with pytest.raises(InputError) as caught:
        kind(20, **options)
    assert str(caught.value) == text
