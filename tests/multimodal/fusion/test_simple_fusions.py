"""The fusions of pooled vectors against their written-out formulas, row by row."""

import pytest
import torch
from torch.nn.functional import gelu, layer_norm

from cellseg.errors import InputError
from cellseg.multimodal.fusion import (
    BilinearFusion,
    ConcatFusion,
    CrossAttentionFusion,
    CrossWeightFusion,
    EarlyFusion,
    EncoderDecoderFusion,
    GatedFusion,
    LateFusion,
    reconstruction_error,
)
from cellseg.multimodal.values import Tokens, masked_mean

CHANNELS = {"image": 6, "text": 5, "table": 4}
WIDTH = 8
# Everything; two; one; none.
PRESENT = {
    "image": torch.tensor([True, True, False, False]),
    "text": torch.tensor([True, False, False, False]),
    "table": torch.tensor([True, True, True, False]),
}
ROWS = range(4)


@pytest.fixture
def tokens():
    generator = torch.Generator().manual_seed(0)
    made = {}
    for length, (name, channels) in enumerate(CHANNELS.items(), 2):
        values = torch.randn(4, length, channels, generator=generator)
        mask = torch.ones(4, length, dtype=torch.bool)
        made[name] = Tokens(values, mask, masked_mean(values, mask))
    return made


def build(kind, channels=CHANNELS, **options):
    torch.manual_seed(2)
    return kind(channels, WIDTH, **options).eval()


def linear(values, layer):
    return values @ layer.weight.T + layer.bias


def projected(fusion, tokens, row):
    """Projected vectors of the modalities that are present in a row."""
    return {name: linear(each.pooled[row], fusion.project[name]) for name, each in tokens.items() if PRESENT[name][row]}


def side_by_side(fusion, tokens, row):
    there = projected(fusion, tokens, row)
    return torch.cat([there.get(name, torch.zeros(WIDTH)) for name in CHANNELS])


def norm(values, layer):
    return layer_norm(values, values.shape[-1:], layer.weight, layer.bias)


@torch.no_grad()
@pytest.mark.parametrize("layers", [0, 1, 2])
def test_concat(tokens, layers):
    fusion = build(ConcatFusion, layers=layers, feedforward=1)
    fused = fusion(tokens, PRESENT)
    for row in ROWS:
        joined = side_by_side(fusion, tokens, row)
        for block in fusion.blocks:
            joined = joined + linear(gelu(linear(norm(joined, block[0]), block[1])), block[4])
        torch.testing.assert_close(fused.pooled[row], linear(joined, fusion.join), atol=1e-5, rtol=0)
    assert len(fusion.blocks) == layers


@pytest.mark.parametrize("channels", [{"image": 64, "text": 48}, {"image": 64, "text": 48, "table": 32}])
@pytest.mark.parametrize(("layers", "feedforward"), [(1, 4), (3, 2)])
def test_concat_is_as_large_as_the_cross_attention_that_it_stands_for(channels, layers, feedforward):
    def count(module):
        return sum(parameter.numel() for parameter in module.parameters())

    full = CrossAttentionFusion(channels, 64, layers=layers, feedforward=feedforward)
    ablation = ConcatFusion(channels, 64, layers=layers, feedforward=feedforward)
    assert count(ablation) == pytest.approx(count(full), rel=0.02)


@torch.no_grad()
def test_early(tokens):
    fusion = build(EarlyFusion, layers=3)
    fused = fusion(tokens, PRESENT)
    first, second = fusion.shared[3], fusion.shared[7]

    def shared(values):
        values = linear(gelu(norm(values, fusion.shared[0])), first)
        return linear(gelu(norm(values, fusion.shared[4])), second)

    # One linear layer over all features side by side, with zeros for what is absent.
    weight = torch.cat([fusion.project[name].weight for name in CHANNELS], dim=1)
    for row in ROWS:
        features = torch.cat([tokens[name].pooled[row] * PRESENT[name][row] for name in CHANNELS])
        biases = sum(fusion.project[name].bias * PRESENT[name][row] for name in CHANNELS)
        torch.testing.assert_close(fused.pooled[row], shared(weight @ features + biases), atol=1e-5, rtol=0)
    expected = shared(linear(tokens["text"].values[0], fusion.project["text"]))
    torch.testing.assert_close(fused.tokens["text"].values[0], expected, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("weights", [None, {"image": 2, "text": 0.5, "table": 0.0}])
def test_late(tokens, weights):
    fusion = build(LateFusion, weights=weights)
    fused = fusion(tokens, PRESENT)
    for row in ROWS:
        total, expected = 0.0, torch.zeros(WIDTH)
        for name, vector in projected(fusion, tokens, row).items():
            weight = 1.0 if weights is None else weights[name]
            total += weight
            expected += weight * linear(gelu(norm(vector, fusion.decide[name][0])), fusion.decide[name][3])
        expected = expected / total if total else expected
        torch.testing.assert_close(fused.pooled[row], expected, atol=1e-5, rtol=0)
    assert fusion.state_dict().keys() == build(LateFusion).state_dict().keys()
    assert "weights" not in fusion.state_dict()


@torch.no_grad()
def test_gated(tokens):
    fusion = build(GatedFusion)
    fused = fusion(tokens, PRESENT)
    for row in ROWS:
        features = torch.cat([tokens[name].pooled[row] * PRESENT[name][row] for name in CHANNELS])
        scores = dict(zip(CHANNELS, linear(features, fusion.gate).split(WIDTH), strict=True))
        there = projected(fusion, tokens, row)
        total = sum(scores[name].exp() for name in there)
        expected = sum(
            (scores[name].exp() / total * vector.tanh() for name, vector in there.items()), torch.zeros(WIDTH)
        )
        torch.testing.assert_close(fused.pooled[row], expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_bilinear(tokens):
    fusion = build(BilinearFusion, rank=3)
    torch.nn.init.normal_(fusion.bias)
    fused = fusion(tokens, PRESENT)
    for row in ROWS:
        total = fusion.bias.clone()
        for rank in range(3):
            product = torch.ones(WIDTH)
            for name, vector in projected(fusion, tokens, row).items():
                part = slice(rank * WIDTH, (rank + 1) * WIDTH)
                product = product * (fusion.factors[name].weight[part] @ vector + fusion.factors[name].bias[part])
            total = total + fusion.rank_weights[rank] * product
        torch.testing.assert_close(fused.pooled[row], norm(total, fusion.norm), atol=1e-5, rtol=0)


@torch.no_grad()
def test_bilinear_is_the_full_product_with_a_weight_tensor():
    fusion = build(BilinearFusion, {"image": 6, "text": 5}, rank=2)
    x, y = torch.randn(WIDTH), torch.randn(WIDTH)
    one = torch.ones(1)
    weight = 0.0
    for rank in range(2):
        part = slice(rank * WIDTH, (rank + 1) * WIDTH)
        left, right = (
            torch.cat([fusion.factors[name].weight[part], fusion.factors[name].bias[part, None]], dim=1)
            for name in ("image", "text")
        )
        weight = weight + fusion.rank_weights[rank] * torch.einsum("ci,cj->cij", left, right)
    expected = torch.einsum("cij,i,j->c", weight, torch.cat([x, one]), torch.cat([y, one]))
    mask = torch.ones(1, 1, dtype=torch.bool)
    vectors = {name: Tokens(v[None, None], mask, v[None]) for name, v in (("image", x), ("text", y))}
    torch.testing.assert_close(fusion.fuse(vectors, vectors).pooled[0], norm(expected, fusion.norm), atol=1e-5, rtol=0)


@torch.no_grad()
def test_cross_weight(tokens):
    fusion = build(CrossWeightFusion)
    fused = fusion(tokens, PRESENT)
    for row in ROWS:
        there = projected(fusion, tokens, row)
        weighted = dict.fromkeys(CHANNELS, torch.zeros(WIDTH))
        for name, vector in there.items():
            others = [2 * linear(there[other], fusion.weigh[name][other]).sigmoid() for other in there if other != name]
            weights = sum(others) / len(others) if others else torch.ones(WIDTH)
            weighted[name] = vector * weights
            expected = linear(tokens[name].values[row], fusion.project[name]) * weights
            torch.testing.assert_close(fused.tokens[name].values[row], expected, atol=1e-5, rtol=0)
            torch.testing.assert_close(fused.tokens[name].pooled[row], weighted[name], atol=1e-5, rtol=0)
        expected = linear(torch.cat(list(weighted.values())), fusion.join)
        torch.testing.assert_close(fused.pooled[row], expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_encoder_decoder(tokens):
    fusion = build(EncoderDecoderFusion, hidden=5)
    fused = fusion(tokens, PRESENT)
    for row in ROWS:
        joined = side_by_side(fusion, tokens, row)
        pooled = linear(gelu(linear(joined, fusion.encode[0])), fusion.encode[3])
        torch.testing.assert_close(fused.pooled[row], pooled, atol=1e-5, rtol=0)
        for name, channels in CHANNELS.items():
            rebuilt = linear(gelu(linear(pooled, fusion.decode[name][0])), fusion.decode[name][3])
            assert rebuilt.shape == (channels,)
            torch.testing.assert_close(fused.reconstruction[name][row], rebuilt, atol=1e-5, rtol=0)


def test_reconstruction_error_counts_what_is_present(tokens):
    fusion = build(EncoderDecoderFusion)
    fused = fusion(tokens, PRESENT)
    errors = []
    for name, channels in CHANNELS.items():
        rows = [row for row in ROWS if PRESENT[name][row]]
        difference = [fused.reconstruction[name][row] - tokens[name].pooled[row] for row in rows]
        errors.append(sum((each**2).sum() / channels for each in difference) / len(rows))
    torch.testing.assert_close(reconstruction_error(fused), sum(errors) / 3)
    nowhere = {name: torch.zeros(4, dtype=torch.bool) for name in CHANNELS}
    assert reconstruction_error(fusion(tokens, nowhere)) == 0


def test_reconstruction_learns_without_moving_its_target(tokens):
    """Its gradient is that against fixed targets, and following it brings the modalities back."""
    fusion = build(EncoderDecoderFusion, dropout=0.0).train()
    pooled = tokens["image"].pooled.requires_grad_()
    reconstruction_error(fusion(tokens, PRESENT)).backward()
    through_the_target = pooled.grad.clone()
    pooled.grad = None
    fused = fusion(tokens, PRESENT)
    fixed = {name: each.pooled.detach() for name, each in fused.encoded.items()}
    parts = [
        ((fused.reconstruction[name] - fixed[name]).square().mean(dim=1) * PRESENT[name]).sum() / PRESENT[name].sum()
        for name in CHANNELS
    ]
    (sum(parts) / 3).backward()
    torch.testing.assert_close(through_the_target, pooled.grad)

    optimizer = torch.optim.Adam(fusion.parameters(), lr=1e-2)
    before = reconstruction_error(fusion(tokens, PRESENT)).item()
    for _ in range(100):
        optimizer.zero_grad()
        error = reconstruction_error(fusion(tokens, PRESENT))
        error.backward()
        optimizer.step()
    assert error.item() < 0.05 * before


@pytest.mark.parametrize(
    ("kind", "options", "text"),
    [
        (ConcatFusion, dict(layers=-1), "ConcatFusion: layers -1: expected 0 or more"),
        (
            EarlyFusion,
            dict(layers=1),
            "EarlyFusion: layers 1: expected 2 or more, the first of which joins the features",
        ),
        (BilinearFusion, dict(rank=0), "BilinearFusion: rank 0: expected 1 or more"),
        (EncoderDecoderFusion, dict(hidden=0), "EncoderDecoderFusion: hidden 0: expected 1 or more"),
        (
            LateFusion,
            dict(weights={"image": 1.0}),
            "LateFusion: weights of image: expected one for each of image, text, table",
        ),
        (
            LateFusion,
            dict(weights={"image": 1.0, "text": -1.0, "table": 1.0}),
            "LateFusion: weights {'image': 1.0, 'text': -1.0, 'table': 1.0}: expected numbers from 0 on, not all of "
            "them 0",
        ),
        (
            LateFusion,
            dict(weights={"image": 1.0, "text": float("nan"), "table": 1.0}),
            "LateFusion: weights {'image': 1.0, 'text': nan, 'table': 1.0}: expected numbers from 0 on, not all of "
            "them 0",
        ),
        (
            LateFusion,
            dict(weights=dict.fromkeys(CHANNELS, 0.0)),
            "LateFusion: weights {'image': 0.0, 'text': 0.0, 'table': 0.0}: expected numbers from 0 on, not all of "
            "them 0",
        ),
    ],
)
def test_bad_options(kind, options, text):
    with pytest.raises(InputError) as caught:
        kind(CHANNELS, WIDTH, **options)
    assert str(caught.value) == text
