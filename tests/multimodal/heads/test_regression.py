"""Numbers: units of the data, attention over tokens by a plain loop, refusals."""

import math

import pytest
import torch

from cellseg.errors import InputError
from cellseg.multimodal.heads import AttentionRegressor, FusedRegressor

CHANNELS = {"image": 5, "text": 7}


def plain(seed=0, **options):
    torch.manual_seed(seed)
    return FusedRegressor(6, CHANNELS, **options).eval()


def attending(seed=0, **options):
    torch.manual_seed(seed)
    return AttentionRegressor(6, CHANNELS, **{"width": 8, **options}).eval()


@pytest.mark.parametrize("make", [plain, attending])
@pytest.mark.parametrize("kind", ["mse", "l1"])
def test_answers_are_in_the_units_of_the_data_and_losses_are_not(make_fused, make, kind):
    fused = make_fused()
    raw, scaled = make(outputs=2, loss=kind), make(outputs=2, loss=kind, mean=[50.0, -3.0], std=[10.0, 0.5])
    mean, std = torch.tensor([50.0, -3.0]), torch.tensor([10.0, 0.5])
    torch.testing.assert_close(scaled(fused), raw(fused) * std + mean)
    values = torch.randn(4, 2, generator=torch.Generator().manual_seed(1))
    present = torch.tensor([True, True, False, True])
    low = raw.loss(fused, {"values": values, "present": present})["loss"]
    high = scaled.loss(fused, {"values": values * std + mean, "present": present})["loss"]
    torch.testing.assert_close(low, high, rtol=1e-4, atol=1e-6)
    difference = (raw(fused) - values)[present]
    expected = difference.square().mean() if kind == "mse" else difference.abs().mean()
    torch.testing.assert_close(low, expected)
    torch.testing.assert_close(scaled.divergence(scaled(fused), mean.expand(4, 2)), raw(fused).square().mean(1))
    found = torch.tensor([prediction["value"] for prediction in scaled.predict(fused)])
    torch.testing.assert_close(found, scaled(fused))


def test_statistics_travel_with_the_weights(make_fused):
    trained, fresh = plain(mean=[5.0], std=[2.0]), plain(seed=1)
    fresh.load_state_dict(trained.state_dict())
    torch.testing.assert_close(fresh(make_fused()), trained(make_fused()))


def test_unknown_numbers_do_not_count(make_fused):
    fused, regress = make_fused(), plain(outputs=2)
    values = torch.zeros(4, 2)
    values[1, 0] = math.nan
    known = ~values.isnan()
    target = {"values": values, "mask": known, "present": torch.ones(4, dtype=torch.bool)}
    loss = regress.loss(fused, target)["loss"]
    squares = regress(fused).square()
    torch.testing.assert_close(loss, (squares[0].mean() + squares[1, 1] + squares[2:].mean(1).sum()) / 4)
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in regress.parameters())


def test_attention_is_a_weighted_mean_of_real_tokens(make_fused):
    fused, regress = make_fused(absent={"image": [1], "text": [3]}), attending()
    shares = regress.attention(fused)
    for row in range(4):
        tokens, scores, places = [], [], []
        for name in CHANNELS:
            for place in range(fused.tokens[name].mask.shape[1]):
                if fused.tokens[name].mask[row, place]:
                    token = regress.bring[name](fused.tokens[name].values[row, place])
                    tokens.append(token)
                    scores.append(regress.score(token).item())
                    places.append((name, place))
        total = sum(math.exp(score) for score in scores)
        weights = [math.exp(score) / total for score in scores]
        mean = sum(weight * token for weight, token in zip(weights, tokens, strict=True))
        torch.testing.assert_close(regress(fused)[row], regress.layers(mean))
        for (name, place), weight in zip(places, weights, strict=True):
            assert shares[name][row, place].item() == pytest.approx(weight, rel=1e-4)
        assert sum(part[row].sum().item() for part in shares.values()) == pytest.approx(1)
    assert (shares["image"][1] == 0).all() and (shares["text"][3] == 0).all()


def test_a_sample_without_tokens_is_answered_from_nothing(make_fused):
    regress = attending()
    answer = regress(make_fused(absent={"image": [2], "text": [2]}))[2]
    torch.testing.assert_close(answer, regress.layers(torch.zeros(8)))


def test_attention_learns_which_token_matters():
    """The number stands in one token of four, marked by its first channel; a mean over all cannot tell."""
    torch.manual_seed(0)
    from cellseg.multimodal.values import Fused, Tokens

    regress = AttentionRegressor(1, {"spots": 2}, width=16)
    optimizer = torch.optim.Adam(regress.parameters(), lr=1e-2)
    losses = []
    for _ in range(300):
        numbers = torch.randn(32, 4)
        marks = torch.nn.functional.one_hot(torch.randint(4, (32,)), 4).float()
        mask = torch.ones(32, 4, dtype=torch.bool)
        tokens = {"spots": Tokens(torch.stack([marks, numbers], dim=2), mask, numbers)}
        target = {"values": (numbers * marks).sum(1, keepdim=True), "present": mask[:, 0]}
        loss = regress.loss(Fused(numbers[:, :1], tokens, tokens), target)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # Guessing the mean of four numbers leaves a variance of 0.75 (of 1).
    assert sum(losses[-20:]) / 20 < 0.15


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outputs": 0}, "outputs: expected a whole number of at least 1, found 0"),
        ({"loss": "huber"}, "loss: expected mse or l1, found 'huber'"),
        ({"outputs": 2, "mean": [1.0]}, "mean: expected 2, one an output, found 1"),
        ({"std": [0.0]}, "std: expected numbers above 0, found [0.0]"),
        ({"mean": [float("nan")]}, "mean: expected finite numbers, found [nan]"),
    ],
)
@pytest.mark.parametrize("make", [plain, attending])
def test_mistakes_are_refused(make, options, message):
    with pytest.raises(InputError) as caught:
        make(**options)
    assert str(caught.value) == message
