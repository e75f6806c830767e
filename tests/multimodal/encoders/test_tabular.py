"""Tables: a token for each known feature, or one for all; what is unknown is told from zero."""

import pytest
import torch

from cellseg.errors import InputError
from cellseg.multimodal.encoders import TabularEncoder


@torch.no_grad()
def test_known_features_are_the_tokens():
    encoder = TabularEncoder(3, width=8).eval()
    mask = torch.tensor([[True, False, True], [False, False, False]])
    assert encoder(torch.ones(2, 3), mask).mask.equal(mask)


@torch.no_grad()
def test_all_features_are_one_token_of_the_mlp():
    encoder = TabularEncoder(3, width=8, kind="mlp", layers=2).eval()
    mask = torch.tensor([[True, False, True], [False, False, False]])
    tokens = encoder(torch.ones(2, 3), mask)
    assert tokens.values.shape == (2, 1, 8) and tokens.mask.tolist() == [[True], [False]]
    inner = torch.tensor([1.0, 0, 1, 1, 0, 1])
    for index in (0, 4):
        inner = torch.nn.functional.gelu(encoder.network.steps[index + 1](encoder.network.steps[index](inner)))
    torch.testing.assert_close(tokens.values[0, 0], encoder.network.steps[8](inner))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["tokens", "mlp"])
def test_unknown_is_not_zero(kind):
    torch.manual_seed(0)
    encoder = TabularEncoder(3, width=8, kind=kind).eval()
    values = torch.tensor([[1.0, 0.0, 2.0]])
    known, unknown = encoder(values), encoder(values, torch.tensor([[True, False, True]]))
    assert (known.pooled - unknown.pooled).abs().max() > 1e-3


@torch.no_grad()
def test_features_are_told_apart():
    torch.manual_seed(0)
    encoder = TabularEncoder(3, width=8).eval()
    pooled = encoder(torch.tensor([[1.0, 0.0, 2.0], [2.0, 0.0, 1.0]])).pooled
    assert (pooled[0] - pooled[1]).abs().max() > 1e-3
    # Where the value is 0, only the offset says which feature it is.
    pooled = encoder(torch.zeros(2, 3), torch.tensor([[True, False, False], [False, True, False]])).pooled
    assert (pooled[0] - pooled[1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (dict(kind="forest"), "TabularEncoder: kind: expected 'tokens' or 'mlp', found 'forest'"),
        (dict(num_features=0), "TabularEncoder: num_features 0: expected 1 or more"),
        (dict(width=6), "TabularEncoder: width 6 cannot be split among 4 heads; choose a multiple"),
        (dict(layers=0), "TabularEncoder: layers 0: expected 1 or more"),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(InputError) as caught:
        TabularEncoder(**{"num_features": 3, **options})
    assert str(caught.value) == text
