"""What all encoders promise: registered, padding changes nothing, rows stand for themselves, absent rows do no harm."""

import pytest
import torch
from mmengine.registry import MODELS

import cellseg.multimodal.encoders  # noqa: F401
from cellseg.multimodal.values import masked_mean

WIDTH, ROWS, LENGTH = 8, 4, 9
ALBERT = dict(
    type="AlbertEncoder",
    vocab_size=30,
    embedding_size=6,
    hidden_size=WIDTH,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=12,
    max_position_embeddings=16,
)
TEXT = {
    "albert": ALBERT,
    "text_transformer": dict(type="TextTransformerEncoder", vocabulary_size=30, width=WIDTH, heads=2, max_length=16),
    "text_lstm": dict(type="LSTMEncoder", vocabulary_size=30, width=WIDTH, layers=2),
}
SEQUENCES = {
    "convolution": dict(type="SequenceEncoder", in_channels=3, width=WIDTH, strides=(1, 2, 1)),
    "convolution_of_steps": dict(type="SequenceEncoder", in_channels=3, width=WIDTH, strides=(1, 1), kernel=3),
    "lstm": dict(type="SequenceEncoder", in_channels=3, width=WIDTH, kind="lstm", layers=2),
}
VOLUMES = {"volume": dict(type="VolumeEncoder", in_channels=2, width=WIDTH, strides=((1, 2), (2, 2)))}
TABLES = {
    "table_tokens": dict(type="TabularEncoder", num_features=LENGTH, width=WIDTH, heads=2),
    "table_mlp": dict(type="TabularEncoder", num_features=LENGTH, width=WIDTH, kind="mlp"),
}
PICTURES = {
    "convolution_of_pictures": dict(type="ConvEncoder", width=WIDTH, strides=(2, 2)),
    "with_cbam": dict(type="ConvEncoder", width=WIDTH, strides=(2, 2), blocks=2, cbam=True),
}
PADDED = {**TEXT, **SEQUENCES, **VOLUMES}
MASKED = {**PADDED, **TABLES}
ALL = {**MASKED, **PICTURES}


def build(name):
    torch.manual_seed(5)
    return MODELS.build(dict(ALL[name])).eval()


def make_values(name, rows=ROWS, length=LENGTH, seed=0):
    generator = torch.Generator().manual_seed(seed)
    if name in TEXT:
        return torch.randint(30, (rows, length), generator=generator)
    shapes = {**dict.fromkeys(SEQUENCES, (length, 3)), **dict.fromkeys(VOLUMES, (2, length, 6, 8))}
    shapes |= {**dict.fromkeys(TABLES, (length,)), **dict.fromkeys(PICTURES, (3, 12, 16))}
    return torch.randn(rows, *shapes[name], generator=generator)


def some_mask():
    """Full, two that end early, one with nothing."""
    return torch.arange(LENGTH) < torch.tensor([LENGTH, 5, 1, 0])[:, None]


def spoil(name, values, mask):
    """Other values wherever the mask is false, NaN where there can be."""
    if name in TEXT:
        return torch.where(mask, values, (values + 7) % 30)
    if name in VOLUMES:
        mask = mask[:, None, :, None, None]
    elif name in SEQUENCES:
        mask = mask[:, :, None]
    return values.masked_fill(~mask, float("nan"))


@pytest.mark.parametrize("name", ALL)
def test_tokens_have_the_width_that_channels_says(name):
    encoder = build(name)
    tokens = encoder(make_values(name))
    assert encoder.channels == tokens.channels == tokens.pooled.shape[1] == WIDTH
    assert tokens.mask.dtype == torch.bool and tokens.mask.shape == tokens.values.shape[:2]
    assert tokens.mask.all() and len(tokens.pooled) == ROWS
    torch.testing.assert_close(tokens.pooled, tokens.values.mean(dim=1))


@torch.no_grad()
@pytest.mark.parametrize("name", MASKED)
def test_what_is_masked_changes_nothing(name):
    encoder, values, mask = build(name), make_values(name), some_mask()
    plain, spoiled = encoder(values, mask), encoder(spoil(name, values, mask), mask)
    torch.testing.assert_close(spoiled.values, plain.values, atol=1e-6, rtol=0)
    torch.testing.assert_close(spoiled.pooled, plain.pooled, atol=1e-6, rtol=0)
    assert not plain.values[~plain.mask].any()
    torch.testing.assert_close(plain.pooled, masked_mean(plain.values, plain.mask))


@torch.no_grad()
@pytest.mark.parametrize("name", PADDED)
@pytest.mark.parametrize("length", [1, 4, 5, 8])
def test_padding_changes_nothing(name, length):
    encoder, values = build(name), make_values(name)
    short = values[:, :, :length] if name in VOLUMES else values[:, :length]
    mask = (torch.arange(LENGTH) < length).expand(ROWS, -1)
    alone, padded = encoder(short), encoder(spoil(name, values, mask), mask)
    real = alone.values.shape[1]
    assert padded.values.shape[1] > real
    assert padded.mask[:, :real].all() and not padded.mask[:, real:].any()
    torch.testing.assert_close(padded.values[:, :real], alone.values, atol=1e-5, rtol=0)
    torch.testing.assert_close(padded.pooled, alone.pooled, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", MASKED)
def test_the_mask_and_the_values_matter(name):
    encoder, values, mask = build(name), make_values(name), some_mask()
    plain = encoder(values, mask)
    assert (encoder(values).pooled[1] - plain.pooled[1]).abs().max() > 1e-4
    assert (encoder(values.flip(0), mask).pooled[1] - plain.pooled[1]).abs().max() > 1e-4


@torch.no_grad()
@pytest.mark.parametrize("name", ALL)
def test_rows_stand_for_themselves(name):
    encoder, values = build(name), make_values(name)
    masks = [some_mask()] if name in MASKED else []
    order = torch.tensor([2, 0, 3, 1])
    plain, permuted = encoder(values, *masks), encoder(values[order], *[mask[order] for mask in masks])
    torch.testing.assert_close(permuted.values, plain.values[order], atol=1e-5, rtol=0)
    torch.testing.assert_close(permuted.pooled, plain.pooled[order], atol=1e-5, rtol=0)
    assert (permuted.mask == plain.mask[order]).all()
    alone = encoder(values[:1], *[mask[:1] for mask in masks])
    torch.testing.assert_close(alone.pooled, plain.pooled[:1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", MASKED)
def test_a_batch_without_anything_gives_zeros_and_sound_gradients(name):
    encoder, mask = build(name).train(), torch.zeros(ROWS, LENGTH, dtype=torch.bool)
    values = spoil(name, make_values(name), mask)
    tokens = encoder(values, mask)
    assert not tokens.mask.any() and not tokens.values.any() and not tokens.pooled.any()
    (tokens.values.sum() + tokens.pooled.sum()).backward()
    for parameter in encoder.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_all_parameters_learn(name):
    encoder = build(name).train()
    tokens = encoder(make_values(name))
    (tokens.pooled * torch.arange(WIDTH)).square().sum().backward()
    idle = [label for label, parameter in encoder.named_parameters() if parameter.grad is None]
    assert idle == []
