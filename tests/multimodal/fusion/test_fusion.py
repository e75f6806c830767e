"""What all fusions promise: one modality is enough, absent ones and padding change nothing, rows are independent."""

import pytest
import torch
from mmengine.registry import MODELS

import cellseg.multimodal.fusion  # noqa: F401
from cellseg.errors import InputError
from cellseg.multimodal.fusion import ConcatFusion
from cellseg.multimodal.values import Tokens, masked_mean

FUSIONS = {
    "BilinearFusion": dict(rank=3),
    "ConcatFusion": dict(),
    "CrossAttentionFusion": dict(heads=2),
    "CrossWeightFusion": dict(),
    "EarlyFusion": dict(),
    "EncoderDecoderFusion": dict(),
    "GatedFusion": dict(),
    "LateFusion": dict(),
    "SharedTransformerFusion": dict(heads=2),
}
CHANNELS = {"image": 6, "text": 5, "table": 4}
LENGTHS = {"image": 4, "text": 7, "table": 3}
ROWS, WIDTH = 5, 8
NAMES = [tuple(CHANNELS)[:count] for count in (1, 2, 3)]
every_fusion = pytest.mark.parametrize("kind", FUSIONS)
every_number = pytest.mark.parametrize("names", NAMES, ids=["one", "two", "three"])


def build(kind, names=tuple(CHANNELS)):
    torch.manual_seed(11)
    channels = {name: CHANNELS[name] for name in names}
    return MODELS.build(dict(type=kind, channels=channels, width=WIDTH, **FUSIONS[kind])).eval()


def make_tokens(names=tuple(CHANNELS), seed=0):
    """Sequences of all lengths from 1 on."""
    generator = torch.Generator().manual_seed(seed)
    tokens = {}
    for name in names:
        values = torch.randn(ROWS, LENGTHS[name], CHANNELS[name], generator=generator)
        mask = torch.arange(LENGTHS[name]) <= (torch.arange(ROWS) % LENGTHS[name])[:, None]
        tokens[name] = Tokens(values, mask, masked_mean(values, mask))
    return tokens


def everywhere(names=tuple(CHANNELS)):
    return {name: torch.ones(ROWS, dtype=torch.bool) for name in names}


def changed(tokens, name, value, rows):
    """Tokens in which a modality holds another value in some rows, in the pooled vector too."""
    values, pooled = tokens[name].values.clone(), tokens[name].pooled.clone()
    values[rows], pooled[rows] = value, value
    return {**tokens, name: Tokens(values, tokens[name].mask, pooled)}


def padded(tokens, more):
    """The same tokens with more masked ones behind them, which hold NaN."""
    rows, _, channels = tokens.values.shape
    values = torch.cat([tokens.values.masked_fill(~tokens.mask[..., None], 9.0), torch.zeros(rows, more, channels)], 1)
    mask = torch.cat([tokens.mask, torch.zeros(rows, more, dtype=torch.bool)], 1)
    values[:, -more:] = float("nan")
    return Tokens(values, mask, tokens.pooled)


@torch.no_grad()
@every_fusion
@every_number
def test_widths_are_as_said(kind, names):
    fusion, tokens = build(kind, names), make_tokens(names)
    fused = fusion(tokens, everywhere(names))
    assert fusion.channels == WIDTH and fused.pooled.shape == (ROWS, WIDTH)
    assert fused.pooled.isfinite().all()
    assert fusion.token_channels == {name: each.channels for name, each in fused.tokens.items()}
    assert list(fused.tokens) == list(fused.encoded) == list(names)
    for name in names:
        assert fused.tokens[name].mask.equal(tokens[name].mask)
        assert not fused.tokens[name].values[~tokens[name].mask].any()
        assert fused.tokens[name].pooled.shape == (ROWS, WIDTH)
        mask = tokens[name].mask
        assert fused.encoded[name].values[mask].equal(tokens[name].values[mask])
        assert fused.encoded[name].pooled.equal(tokens[name].pooled)


@torch.no_grad()
@every_fusion
@pytest.mark.parametrize("value", [3.0, float("nan"), float("inf")])
def test_absent_modalities_change_nothing(kind, value):
    fusion, tokens, present = build(kind), make_tokens(), everywhere()
    present["text"][[0, 2]] = False
    present["image"][[2, 3]] = False
    plain = fusion(tokens, present)
    other = changed(changed(tokens, "text", value, [0, 2]), "image", value, [2, 3])
    found = fusion(other, present)
    assert plain.pooled.isfinite().all()
    torch.testing.assert_close(found.pooled, plain.pooled, atol=1e-6, rtol=0)
    for name in CHANNELS:
        torch.testing.assert_close(found.tokens[name].values, plain.tokens[name].values, atol=1e-6, rtol=0)
        torch.testing.assert_close(found.tokens[name].pooled, plain.tokens[name].pooled, atol=1e-6, rtol=0)
        for part in (plain.tokens[name], plain.encoded[name]):
            gone = ~present[name]
            assert not part.mask[gone].any() and not part.values[gone].any() and not part.pooled[gone].any()
    for name, weights in found.attention.items():
        torch.testing.assert_close(weights, plain.attention[name], atol=1e-6, rtol=0)


@torch.no_grad()
@every_fusion
def test_present_modalities_change_the_answer(kind):
    fusion, tokens, present = build(kind), make_tokens(), everywhere()
    plain = fusion(tokens, present).pooled
    for name in CHANNELS:
        other = fusion(make_tokens(seed=1) | {key: tokens[key] for key in CHANNELS if key != name}, present).pooled
        assert ((other - plain).abs().amax(dim=1) > 1e-4).all()
        absent = fusion(tokens, {**present, name: torch.zeros(ROWS, dtype=torch.bool)}).pooled
        assert ((absent - plain).abs().amax(dim=1) > 1e-4).all()


@torch.no_grad()
@every_fusion
@every_number
def test_padding_changes_nothing(kind, names):
    fusion, tokens = build(kind, names), make_tokens(names)
    plain = fusion(tokens, everywhere(names))
    found = fusion({name: padded(each, more) for more, (name, each) in enumerate(tokens.items(), 1)}, everywhere(names))
    torch.testing.assert_close(found.pooled, plain.pooled, atol=1e-5, rtol=0)
    for name in names:
        longer, length = found.tokens[name], LENGTHS[name]
        torch.testing.assert_close(longer.values[:, :length], plain.tokens[name].values, atol=1e-5, rtol=0)
        torch.testing.assert_close(longer.pooled, plain.tokens[name].pooled, atol=1e-5, rtol=0)
        assert longer.values.shape[1] > length and not longer.values[:, length:].any()


@torch.no_grad()
@every_fusion
@every_number
def test_permuted_rows_give_permuted_answers(kind, names):
    fusion, tokens, present = build(kind, names), make_tokens(names), everywhere(names)
    present[names[-1]][1] = False
    order = torch.tensor([3, 0, 4, 2, 1])
    plain = fusion(tokens, present)
    found = fusion(
        {name: Tokens(each.values[order], each.mask[order], each.pooled[order]) for name, each in tokens.items()},
        {name: rows[order] for name, rows in present.items()},
    )
    torch.testing.assert_close(found.pooled, plain.pooled[order], atol=1e-5, rtol=0)
    for name in names:
        torch.testing.assert_close(found.tokens[name].values, plain.tokens[name].values[order], atol=1e-5, rtol=0)
    for name, weights in found.attention.items():
        torch.testing.assert_close(weights, plain.attention[name][order], atol=1e-5, rtol=0)


@every_fusion
def test_a_row_without_anything_gives_sound_values_and_gradients(kind):
    fusion, tokens, present = build(kind), make_tokens(), everywhere()
    for name in CHANNELS:
        present[name][[1, 2]] = False
        tokens = changed(tokens, name, float("nan"), [1, 2])
    leaves = {
        name: Tokens(each.values.requires_grad_(), each.mask, each.pooled.requires_grad_())
        for name, each in tokens.items()
    }
    fused = fusion(leaves, present)
    assert fused.pooled.isfinite().all()
    fused.pooled.square().sum().backward()
    gradients = [parameter.grad for parameter in fusion.parameters() if parameter.grad is not None]
    gradients += [each.grad for part in leaves.values() for each in (part.values, part.pooled) if each.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)


@torch.no_grad()
@every_fusion
def test_a_modality_without_real_tokens_is_absent(kind):
    fusion, tokens, present = build(kind), make_tokens(), everywhere()
    absent = {**present, "text": torch.tensor([True, False, True, True, True])}
    empty = tokens["text"].mask.clone()
    empty[1] = False
    without = {**tokens, "text": Tokens(tokens["text"].values, empty, tokens["text"].pooled)}
    torch.testing.assert_close(fusion(without, present).pooled, fusion(tokens, absent).pooled)


@every_fusion
@every_number
def test_all_parameters_learn(kind, names):
    fusion = build(kind, names).train()
    fused = fusion(make_tokens(names), everywhere(names))
    total = (fused.pooled * torch.arange(WIDTH)).square().sum()
    total = total + sum(each.square().sum() for each in getattr(fused, "reconstruction", {}).values())
    total.backward()
    assert [label for label, parameter in fusion.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    ("channels", "width", "text"),
    [
        ({}, 8, "ConcatFusion: no modality to fuse; give the channels of at least one"),
        ({"image": 4}, 0, "ConcatFusion: width 0 and channels {'image': 4}: expected 1 or more"),
        ({"image": 0}, 8, "ConcatFusion: width 8 and channels {'image': 0}: expected 1 or more"),
        ({"a.b": 4}, 8, "ConcatFusion: a modality cannot be called 'a.b'; choose another name without dots"),
        ({"": 4}, 8, "ConcatFusion: a modality cannot be called ''; choose another name without dots"),
        ({"values": 4}, 8, "ConcatFusion: a modality cannot be called 'values'; choose another name without dots"),
    ],
)
def test_bad_channels(channels, width, text):
    with pytest.raises(InputError) as caught:
        ConcatFusion(channels, width)
    assert str(caught.value) == text


@pytest.mark.parametrize("lacking", ["tokens", "present"])
def test_a_batch_that_lacks_a_modality_is_refused(lacking):
    arguments = dict(tokens=make_tokens(), present=everywhere())
    del arguments[lacking]["text"]
    with pytest.raises(InputError) as caught:
        build("ConcatFusion")(**arguments)
    assert str(caught.value) == "ConcatFusion: the batch lacks 'text', its tokens or where it is present"
