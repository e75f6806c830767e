"""Cross-attention against its written-out formulas, with two and with three modalities."""

import pytest
import torch
from torch.nn.functional import gelu, layer_norm

from cellseg.errors import InputError
from cellseg.multimodal.fusion import CrossAttentionFusion
from cellseg.multimodal.values import Tokens, masked_mean

HEADS, WIDTH = 2, 8


def build(channels, layers=2):
    torch.manual_seed(1)
    fusion = CrossAttentionFusion(channels, WIDTH, layers=layers, heads=HEADS, feedforward=2).eval()
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))  # so that no bias is 0 and no norm the identity
    return fusion


def make_tokens(lengths, channels, seed=0):
    """Two rows; the second lacks the last token of every modality."""
    generator = torch.Generator().manual_seed(seed)
    tokens = {}
    for name, length in lengths.items():
        values = torch.randn(2, length, channels[name], generator=generator)
        mask = torch.ones(2, length, dtype=torch.bool)
        mask[1, -1] = False
        tokens[name] = Tokens(values, mask, masked_mean(values, mask))
    return tokens


def everywhere(names):
    return {name: torch.ones(2, dtype=torch.bool) for name in names}


def linear(values, layer):
    return values @ layer.weight.T + layer.bias


def attend(module, queries, keys):
    """Attention of one row without padding, and its weights ``[heads, Q, K]``."""
    inner = module.attend
    parts = zip((queries, keys, keys), inner.in_proj_weight.chunk(3), inner.in_proj_bias.chunk(3), strict=True)
    q, k, v = (values @ weight.T + bias for values, weight, bias in parts)
    size = WIDTH // HEADS
    heads = [slice(size * head, size * (head + 1)) for head in range(HEADS)]
    weights = torch.stack([(q[:, part] @ k[:, part].T / size**0.5).softmax(dim=1) for part in heads])
    read = torch.cat([weight @ v[:, part] for weight, part in zip(weights, heads, strict=True)], dim=1)
    return linear(read, inner.out_proj), weights


def norm(values, layer):
    return layer_norm(values, (WIDTH,), layer.weight, layer.bias)


def plain_block(block, values, keys):
    """``LN(V + MHA(Q=V, K=V=T))``, then the feed-forward network with its own sum and norm."""
    read, weights = attend(block.attention, values, keys)
    values = norm(values + read, block.attention_norm)
    inner = linear(gelu(linear(values, block.feedforward[0])), block.feedforward[3])
    return norm(values + inner, block.feedforward_norm), weights


@torch.no_grad()
def test_two_modalities_equal_the_formulas():
    channels = {"image": 6, "text": 5}
    fusion, tokens = build(channels), make_tokens({"image": 4, "text": 6}, channels)
    fused = fusion(tokens, everywhere(channels))
    for row in range(2):
        real = {name: each.mask[row] for name, each in tokens.items()}
        image, text = (linear(tokens[name].values[row, real[name]], fusion.project[name]) for name in channels)
        for index, layer in enumerate(fusion.layers):
            # Both from the layer's inputs.
            (image, seen), (text, read) = (
                plain_block(layer.blocks["image"], image, text),
                plain_block(layer.blocks["text"], text, image),
            )
            for weights, name, source in ((seen, "image", "text"), (read, "text", "image")):
                found = fused.attention[f"{name}<-{source}/{index}"][row]
                torch.testing.assert_close(found[:, real[name]][:, :, real[source]], weights, atol=1e-5, rtol=0)
        torch.testing.assert_close(fused.tokens["image"].values[row, real["image"]], image, atol=1e-5, rtol=0)
        torch.testing.assert_close(fused.tokens["text"].values[row, real["text"]], text, atol=1e-5, rtol=0)
        expected = linear(torch.cat([image.mean(dim=0), text.mean(dim=0)]), fusion.join)
        torch.testing.assert_close(fused.pooled[row], expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_of_three_each_reads_the_concatenation_of_the_others():
    channels = {"image": 6, "text": 5, "table": 4}
    fusion = build(channels, layers=1)
    tokens = make_tokens({"image": 4, "text": 6, "table": 3}, channels)
    fused = fusion(tokens, everywhere(channels))
    row = 1
    real = {name: linear(each.values[row, each.mask[row]], fusion.project[name]) for name, each in tokens.items()}
    for name, own in real.items():
        others = [other for other in channels if other != name]
        expected, weights = plain_block(
            fusion.layers[0].blocks[name], own, torch.cat([real[other] for other in others])
        )
        found = fused.tokens[name].values[row, : len(own)]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        parts = weights.split([len(real[other]) for other in others], dim=2)
        for other, part in zip(others, parts, strict=True):
            named = fused.attention[f"{name}<-{other}/0"][row]
            torch.testing.assert_close(named[:, : len(own), : len(real[other])], part, atol=1e-5, rtol=0)


@torch.no_grad()
def test_weights_are_named_and_sum_to_one_over_all_sources():
    channels = {"image": 6, "text": 5, "table": 4}
    lengths = {"image": 4, "text": 6, "table": 3}
    attention = build(channels)(make_tokens(lengths, channels), everywhere(channels)).attention
    assert set(attention) == {
        f"{name}<-{source}/{layer}" for name in channels for source in channels if name != source for layer in (0, 1)
    }
    for name, length in lengths.items():
        parts = [attention[f"{name}<-{source}/1"] for source in channels if source != name]
        assert all(part.shape[:3] == (2, HEADS, length) for part in parts)
        torch.testing.assert_close(torch.cat(parts, dim=3).sum(dim=3), torch.ones(2, HEADS, length))


@torch.no_grad()
def test_where_the_other_is_absent_it_is_the_modality_alone():
    channels = {"image": 6, "text": 5}
    fusion, tokens = build(channels), make_tokens({"image": 4, "text": 6}, channels)
    fused = fusion(tokens, {"image": torch.tensor([True, True]), "text": torch.tensor([False, False])})
    alone = build({"image": 6})
    wanted = alone.state_dict()
    shared = {name: value for name, value in fusion.state_dict().items() if name in wanted and name != "join.weight"}
    assert shared.keys() == wanted.keys() - {"join.weight"}
    alone.load_state_dict({**shared, "join.weight": fusion.join.weight[:, :WIDTH]})
    found = alone({"image": tokens["image"]}, everywhere(["image"]))
    torch.testing.assert_close(found.pooled, fused.pooled, atol=1e-5, rtol=0)
    assert found.attention == {} and not fused.attention["image<-text/0"].any()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (dict(heads=3), "CrossAttentionFusion: width 8 cannot be split among 3 heads; choose a multiple"),
        (dict(layers=0), "CrossAttentionFusion: layers 0: expected 1 or more"),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(InputError) as caught:
        CrossAttentionFusion({"image": 4}, 8, **options)
    assert str(caught.value) == text
