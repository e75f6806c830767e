"""The domain adversary: reversed gradients, growing strength, a representation that hides the domain."""

import math

import pytest
import torch

from cellseg.errors import InputError
from cellseg.multimodal.auxiliary.adversary import DomainAdversary, growing_strength, reverse_gradient


def test_gradients_are_reversed():
    values = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    passed = reverse_gradient(values, 0.3)
    assert torch.equal(passed, values)
    (passed * torch.arange(6.0).view(3, 2)).sum().backward()
    torch.testing.assert_close(values.grad, -0.3 * torch.arange(6.0).view(3, 2))


@pytest.mark.parametrize("step", [0, 10, 50, 100, 1000])
def test_strength_grows_as_published(step):
    progress = min(step / 100, 1)
    expected = 0.5 * (2 / (1 + math.exp(-10 * progress)) - 1)
    assert growing_strength(step, 100, 0.5) == pytest.approx(expected)
    assert growing_strength(0, 100) == 0 and growing_strength(100, 100) > 0.999


@pytest.mark.parametrize("modality", [None, "wave"])
def test_the_guesser_learns_and_the_representation_unlearns(build, batch, modality):
    option = {"type": "DomainAdversary", "domains": 2, "modality": modality, "steps": 10, "strength": 0.4}
    model = build(auxiliary=[option]).train()
    data = batch(8, absent={"domain": [3], "wave": [5]})
    model.training_steps.fill_(10)
    losses = model(**data, mode="loss")
    # By hand: cross-entropy over the samples that have a domain, and the modality.
    fused = model.represent(data["inputs"])
    rows = [0, 1, 2, 4, 5, 6, 7] if modality is None else [0, 1, 2, 4, 6, 7]
    values = fused.pooled if modality is None else fused.encoded[modality].pooled
    guess = model.auxiliary[0].guess(values[rows]).log_softmax(1)
    expected = -guess[torch.arange(len(rows)), data["targets"]["domain"]["values"][rows]].mean()
    torch.testing.assert_close(losses["loss_domain_adversary"], expected)
    layer = model.encoders["wave"].layer.weight
    (honest,) = torch.autograd.grad(expected, layer)
    found, guesser = torch.autograd.grad(
        losses["loss_domain_adversary"], [layer, model.auxiliary[0].guess[-1].weight], retain_graph=True
    )
    torch.testing.assert_close(found, -growing_strength(10, 10, 0.4) * honest)
    assert honest.abs().sum() > 0 and guesser.abs().sum() > 0


def test_batches_without_domains_give_no_loss(build, batch):
    model = build(auxiliary=[{"type": "DomainAdversary", "domains": 2}]).train()
    data = batch(absent={"domain": list(range(6))})
    assert "loss_domain_adversary" not in model(**data, mode="loss")
    del data["targets"]["domain"]
    assert "loss_domain_adversary" not in model(**data, mode="loss")


def devices(count):
    """A table whose second number tells the device."""
    values = torch.randn(count, 5)
    present = torch.ones(count, dtype=torch.bool)
    domain = {"values": (values[:, 1] > 0).long(), "present": present}
    return {"inputs": {"table": {"values": values}}, "targets": {"domain": domain}}


def guesses(model, parameters, steps):
    """Loss of the guesser after training some of the parameters."""
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    for _ in range(steps):
        loss = model(**devices(128), mode="loss")["loss_domain_adversary"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def test_guesser_and_representation_work_against_each_other(build):
    torch.manual_seed(0)
    adversary = {"type": "DomainAdversary", "domains": 2, "hidden": 16, "steps": 1}
    model = build(encoders={"table": {"type": "DoubleTable"}}, fusion=None, auxiliary=[adversary]).train()
    assert guesses(model, model.auxiliary[0].parameters(), 150) < 0.35
    assert guesses(model, model.encoders.parameters(), 60) > 0.65
    # A guess at random costs log 2 = 0.69.
    assert guesses(model, model.auxiliary[0].parameters(), 150) < 0.65


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domains": 1}, "domains: expected a whole number of at least 2, found 1"),
        ({"domains": 2, "modality": "sound"}, "modality: 'sound' has no encoder; the model encodes wave"),
        ({"domains": 2, "steps": 0}, "steps: expected a whole number of at least 1, found 0"),
        ({"domains": 2, "strength": 0}, "strength: expected a number above 0, found 0"),
        ({"domains": 2, "weight": "1"}, "weight: expected a number above 0, found '1'"),
        ({"domains": 2, "name": ""}, "name: expected a text, found ''"),
    ],
)
def test_mistakes_are_refused(options, message):
    with pytest.raises(InputError) as caught:
        DomainAdversary(4, {}, {"wave": 4}, **options)
    assert str(caught.value) == message
