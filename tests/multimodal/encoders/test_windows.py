"""Sliding windows: each real step is in one, padding changes nothing, and training draws other places."""

import pytest
import torch
from mmengine.registry import MODELS

from cellseg.errors import InputError
from cellseg.multimodal.encoders import SlidingWindowEncoder

INNER = dict(type="SequenceEncoder", in_channels=2, width=8, strides=(1, 2), kernel=3, dropout=0.0)


def build(length=6, step=4, draw=0):
    torch.manual_seed(0)
    return MODELS.build(dict(type="SlidingWindowEncoder", encoder=INNER, length=length, step=step, draw=draw)).eval()


def sequences(*lengths, steps=None, seed=0):
    """Random sequences, what is padded filled with numbers that must not be seen."""
    values = torch.randn(len(lengths), steps or max(lengths), 2, generator=torch.Generator().manual_seed(seed))
    return values, torch.arange(values.shape[1]) < torch.tensor(lengths)[:, None]


@pytest.mark.parametrize(("length", "step"), [(6, 4), (5, 5), (4, 1), (3, 2)])
@pytest.mark.parametrize("real", [1, 3, 6, 7, 10, 13])
def test_windows_are_those_of_a_plain_loop(length, step, real):
    encoder = build(length, step)
    values, _ = sequences(real)
    wanted, start, reached = [], 0, 0
    while reached < real:
        wanted.append(encoder.encoder(values[:, start : start + length]).pooled)
        start, reached = start + step, start + length
    tokens = encoder(values)
    assert tokens.mask.all() and tokens.values.shape[1] == len(wanted) and tokens.channels == encoder.channels == 8
    torch.testing.assert_close(tokens.values, torch.stack(wanted, dim=1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(tokens.pooled, torch.stack(wanted).mean(dim=0), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("steps", [13, 14, 20, 31])
def test_padding_changes_nothing(steps):
    encoder = build()
    values, mask = sequences(13, 9, 4, 0, steps=steps)
    tokens = encoder(values, mask)
    assert not tokens.mask[3].any() and tokens.pooled[3].eq(0).all() and tokens.values[~tokens.mask].eq(0).all()
    for row, real in enumerate((13, 9, 4)):
        alone = encoder(values[row : row + 1, :real])
        assert int(tokens.mask[row].sum()) == alone.values.shape[1]
        torch.testing.assert_close(tokens.pooled[row], alone.pooled[0], atol=1e-5, rtol=1e-4)


def test_training_draws_every_place_and_nothing_else():
    encoder = build(length=4, step=2, draw=3).train()
    values, mask = sequences(7, 3, steps=12)
    allowed = [encoder.encoder(values[:1, start : start + 4]).pooled[0] for start in range(4)]
    seen = set()
    for seed in range(12):
        torch.manual_seed(seed)
        tokens = encoder(values, mask)
        assert tokens.mask.all() and tokens.values.shape == (2, 3, 8)
        for token in tokens.values[0]:
            (place,) = [place for place, own in enumerate(allowed) if torch.allclose(own, token, atol=1e-5)]
            seen.add(place)
        # A sequence shorter than a window has one place.
        short = encoder.encoder(values[1:, :3]).pooled.expand(3, -1)
        torch.testing.assert_close(tokens.values[1], short, atol=1e-5, rtol=1e-4)
    assert seen == {0, 1, 2, 3}
    assert torch.equal(encoder.eval()(values, mask).values, encoder(values, mask).values)


def test_an_absent_sequence_has_no_window_in_training():
    values, mask = sequences(5, 0)
    tokens = build(draw=2).train()(values, mask)
    assert tokens.mask.tolist() == [[True, True], [False, False]] and tokens.pooled[1].eq(0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(step=0), "SlidingWindowEncoder: step 0: expected 1 to length (6)"),
        (dict(step=7), "SlidingWindowEncoder: step 7: expected 1 to length (6)"),
        (dict(draw=-1), "SlidingWindowEncoder: draw -1: expected 0 or more"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(InputError) as error:
        SlidingWindowEncoder(INNER, **{"length": 6, "step": 4, **options})
    assert str(error.value) == message
