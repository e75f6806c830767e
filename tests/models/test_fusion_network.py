"""The correcting networks: uniform vote at first, cross-fitting, symmetry, what is remembered with the weights."""

import json

import pytest
import torch

from cellseg.errors import InputError
from cellseg.models import fusion_network
from cellseg.models.fusion_network import (
    GRID,
    FeatureFusionNetwork,
    FusionDescription,
    apply_correction,
    log_odds,
    soft_iou,
)

CHANNELS = {"a": 3, "b": 0, "c": 5}


def describe(channels=CHANNELS, parts=3, images=None):
    return FusionDescription(
        class_names=("round", "long"),
        identities={name: f"hash of {name}" for name in channels},
        channels=channels,
        parts=parts,
        images=images or {"first": 0, "second": 2},
    )


def build(seed=0, **options):
    torch.manual_seed(seed)
    return FeatureFusionNetwork(describe(), width=8, feature_width=4, **options)


def batch(seed, count=12, inputs=3, channels=8):
    generator = torch.Generator().manual_seed(seed)
    return dict(
        evidence=torch.rand(count, inputs, GRID, GRID, generator=generator).half(),
        confidence=torch.rand(count, inputs, generator=generator),
        features=torch.randn(count, channels, 7, 7, generator=generator).half(),
        part=torch.arange(count) % 3,
        target=(torch.rand(count, GRID, GRID, generator=generator) > 0.5).half(),
        weight=torch.ones(count),
    )


def train(network, batches, steps=4):
    """A few steps; the random numbers are the same for each call."""
    torch.manual_seed(7)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    network.train()
    for step in range(steps):
        optimizer.zero_grad()
        network(**batches[step % len(batches)], mode="loss")["loss"].backward()
        optimizer.step()
    return network.eval()


@torch.no_grad()
def answers(network, data):
    return network(**data, mode="tensor")


def test_untrained_it_is_the_uniform_mean():
    data = batch(0)
    data["evidence"][0] = 0.0
    data["evidence"][1] = 1.0
    torch.testing.assert_close(answers(build().eval(), data), data["evidence"].float().mean(dim=1), atol=2e-7, rtol=0)


def test_the_loss_is_the_weighted_cross_entropy_on_the_other_parts(monkeypatch):
    monkeypatch.setattr(fusion_network, "_turn", lambda *grids: list(grids))
    network, data = build(input_dropout=0.0).eval(), batch(1)
    for part in network.networks:
        torch.nn.init.normal_(part.last.weight, std=1.0)
    data["weight"] = torch.tensor([1.0, 0.25, 0.0] * 4)
    expected = 0.0
    for index, corrector in enumerate(network.networks):
        total = counted = 0.0
        for sample in range(len(data["part"])):
            if data["part"][sample] == index:
                continue
            evidence, target = data["evidence"][sample].float(), data["target"][sample].float()
            with torch.no_grad():
                one = (evidence[None], data["confidence"][[sample]], data["features"][[sample]].float())
                correction = corrector(*one, torch.ones(1, 3))[0]
            mean = evidence.mean(dim=0).clamp(1e-4, 1 - 1e-4)
            probability = 1 / (1 + torch.exp(-(torch.log(mean / (1 - mean)) + correction)))
            cross_entropy = -(target * probability.log() + (1 - target) * (1 - probability).log()).mean()
            total += data["weight"][sample] * cross_entropy
            counted += data["weight"][sample]
        expected += total / counted
    assert network(**data, mode="loss")["loss"].item() == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("mean", [0.0, 1e-5, 0.3, 0.5, 0.999, 1.0])
def test_corrections_move_every_probability(mean):
    mean = torch.tensor([mean])
    assert apply_correction(mean, torch.zeros(1)) == pytest.approx(mean.item(), abs=2e-7)
    low, high = (float(apply_correction(mean, torch.tensor([step]))) for step in (-9.0, 9.0))
    assert 0 <= low < 0.12 and 0.88 < high <= 1
    if 0.1 < mean < 0.9:
        moved = apply_correction(mean, torch.tensor([1.5]))
        torch.testing.assert_close(torch.logit(moved), torch.logit(mean) + 1.5)


def test_log_odds_are_finite():
    found = log_odds(torch.tensor([0.0, 0.5, 1.0]))
    assert found.isfinite().all() and found[1] == 0 and float(found[0]) == pytest.approx(-float(found[2]), abs=1e-3)


def test_soft_iou():
    whole, half, nothing = torch.ones(1, 4, 4), torch.full((1, 4, 4), 0.5), torch.zeros(1, 4, 4)
    assert soft_iou(whole, whole) == 1 and soft_iou(whole, half) == 0.5 and soft_iou(nothing, whole) == 0
    assert soft_iou(nothing, nothing) == 0


def test_samples_do_not_depend_on_each_other():
    data = batch(1)
    network = train(build(), [batch(2)])
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    shuffled = {name: values[order] for name, values in data.items()}
    torch.testing.assert_close(answers(network, shuffled), answers(network, data)[order], atol=1e-6, rtol=0)
    alone = {name: values[:1] for name, values in data.items()}
    torch.testing.assert_close(answers(network, alone), answers(network, data)[:1], atol=1e-6, rtol=0)


def test_an_answer_does_not_depend_on_the_targets_of_its_own_part():
    first, second = batch(4), batch(5)
    mine = first["part"] == 1
    changed = [{**data, "target": data["target"].clone()} for data in (first, second)]
    for data in changed:
        data["target"][mine] = 1 - data["target"][mine]
    one, other = train(build(), [first, second]), train(build(), changed)
    found, after = answers(one, first), answers(other, first)
    assert torch.equal(found[mine], after[mine])
    assert ((found[~mine] - after[~mine]).abs().amax(dim=(1, 2)) > 1e-4).all()


def test_neither_on_its_features_or_evidence():
    first = batch(4)
    mine = first["part"] == 2
    changed = {name: values.clone() for name, values in first.items()}
    changed["features"][mine] *= 50
    changed["evidence"][mine] = 0.1
    one, other = train(build(), [first]), train(build(), [changed])
    assert torch.equal(answers(one, first)[mine], answers(other, first)[mine])
    assert not torch.equal(answers(one, first)[~mine], answers(other, first)[~mine])


def test_each_part_is_answered_by_its_own_network():
    data = batch(6)
    network = train(build(), [data])
    whole = answers(network, data)
    for part in range(3):
        mine = data["part"] == part
        other = {**data, "part": torch.full((12,), part)}
        torch.testing.assert_close(answers(network, other)[mine], whole[mine], atol=1e-6, rtol=0)
        assert not torch.allclose(answers(network, other)[~mine], whole[~mine], atol=1e-4)


def test_samples_without_weight_teach_nothing():
    data = batch(8)
    data["weight"][::2] = 0
    changed = {**data, "target": data["target"].clone()}
    changed["target"][::2] = 1 - changed["target"][::2]
    assert torch.equal(answers(train(build(), [data]), data), answers(train(build(), [changed]), data))


def test_a_batch_of_one_part_and_one_without_weight():
    data = batch(9, count=4)
    data["part"][:] = 1
    loss = build()(**data, mode="loss")["loss"]
    assert loss.isfinite() and loss > 0
    data["weight"][:] = 0
    loss = build()(**data, mode="loss")["loss"]
    loss.backward()
    assert loss == 0


def test_inputs_are_dropped_one_at_a_time():
    torch.manual_seed(0)
    present = build(input_dropout=0.5)._drop_inputs(torch.ones(4000, 3))
    missing = (1 - present).sum(dim=1)
    assert set(missing.tolist()) == {0.0, 1.0} and missing.mean() == pytest.approx(0.5, abs=0.03)
    assert (1 - present).mean(dim=0).tolist() == pytest.approx([1 / 6] * 3, abs=0.02)
    assert (build(input_dropout=0.0)._drop_inputs(torch.ones(50, 3)) == 1).all()


def test_a_dropped_input_has_no_say():
    network = train(build(), [batch(10)])
    data = batch(11)
    present = torch.ones(12, 3)
    present[:, 0] = 0
    arguments = [data["evidence"].float(), data["confidence"], data["features"].float()]
    changed = [part.clone() for part in arguments]
    changed[0][:, 0], changed[1][:, 0], changed[2][:, :3] = 0.9, 0.9, 4.0
    with torch.no_grad():
        one, other = (network.networks[0](*parts, present) for parts in (arguments, changed))
        seen = network.networks[0](*changed, torch.ones(12, 3))
    torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
    assert not torch.allclose(seen, other, atol=1e-4)


def test_scores_of_a_batch():
    data = batch(12, count=3)
    data["target"][1] = 0
    with torch.no_grad():
        rows = build().eval()(**data, mode="predict")
    assert [row["true_cell"] for row in rows] == [True, False, True]
    mean, target = data["evidence"].float().mean(dim=1), data["target"].float()
    expected = [float(torch.minimum(m, t).sum() / torch.maximum(m, t).sum()) for m, t in zip(mean, target, strict=True)]
    assert [row["mean_soft_iou"] for row in rows] == pytest.approx(expected, abs=1e-6)
    assert [row["soft_iou"] for row in rows] == pytest.approx(expected, abs=1e-5)


def test_its_size():
    channels = dict(yolox=64, mask_rcnn=48, upernet=32)
    network = FeatureFusionNetwork(describe(channels))
    sizes = [sum(values.numel() for values in part.parameters()) for part in network.networks]
    assert len(sizes) == 3 and len(set(sizes)) == 1 and 20_000 < sizes[0] < 60_000


def test_without_features():
    network = FeatureFusionNetwork(describe(dict(a=0, b=0)), width=8)
    assert not network.about.uses_features and describe().uses_features
    data = batch(13, inputs=2, channels=0)
    assert network(**data, mode="loss")["loss"].isfinite()


def test_the_description_travels_with_the_weights():
    about = describe(images={"x" * 64: 1})
    assert FusionDescription.from_tensor(about.to_tensor(), "here") == about and about.inputs == ("a", "b", "c")
    network = FeatureFusionNetwork(about)
    assert FusionDescription.from_tensor(network.state_dict()["description"], "here") == about
    # Weights from elsewhere do not bring their description along, whatever its length.
    weights = FeatureFusionNetwork(describe()).state_dict()
    assert weights["description"].shape != network.state_dict()["description"].shape
    network.load_state_dict(weights)
    assert FusionDescription.from_tensor(network.state_dict()["description"], "here") == about


def encoded(**changes):
    values = json.loads(bytes(describe().to_tensor().tolist())) | changes
    return torch.tensor(list(json.dumps(values).encode()), dtype=torch.uint8)


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "here: not the checkpoint of a feature fusion"),
        (torch.tensor([1.5]), "here: not the checkpoint of a feature fusion"),
        (torch.tensor([255, 0], dtype=torch.uint8), "here: not the checkpoint of a feature fusion"),
        (torch.tensor([91, 93], dtype=torch.uint8), "here: not the checkpoint of a feature fusion"),
        (encoded(extra=1), "here: not the checkpoint of a feature fusion"),
        (encoded(class_names=None), "here: not the checkpoint of a feature fusion"),
        (encoded(parts=-1), "here: damaged, the description of its training contradicts itself"),
        (encoded(parts=True), "here: damaged, the description of its training contradicts itself"),
        (encoded(parts=2), "here: damaged, the description of its training contradicts itself"),
        (encoded(channels=dict(a=1)), "here: damaged, the description of its training contradicts itself"),
        (encoded(identities={}, channels={}), "here: damaged, the description of its training contradicts itself"),
    ],
)
def test_descriptions_that_cannot_be_used(content, message):
    with pytest.raises(InputError, match=message):
        FusionDescription.from_tensor(content, "here")
