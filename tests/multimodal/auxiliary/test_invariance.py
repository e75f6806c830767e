"""The invariant-risk penalty over the environments of a batch."""

import pytest
import torch

from cellseg.errors import InputError
from cellseg.multimodal import MultimodalModel
from cellseg.multimodal.auxiliary import InvariantRisk


def penalty_by_hand(logits, labels):
    hot = torch.nn.functional.one_hot(labels, logits.shape[1])
    return (((logits.softmax(1) - hot) * logits).sum(1).mean() ** 2).item()


def test_mean_over_environments_of_samples_with_both(build, batch):
    model = build(auxiliary=[{"type": "InvariantRisk", "task": "mood"}]).train()
    data = batch(8, absent={"mood": [0], "environment": [1, 2]})
    data["targets"]["environment"]["values"] = torch.tensor([0, 0, 2, 2, 5, 5, 2, 5])
    found = model(**data, mode="loss")["loss_invariant_risk"]
    logits = model(data["inputs"])["mood"]
    labels = data["targets"]["mood"]["values"]
    # 0 is alone in its environment with 1, of which one lacks the class and the other the environment.
    expected = [penalty_by_hand(logits[rows], labels[rows]) for rows in ([3, 6], [4, 5, 7])]
    assert found.item() == pytest.approx(sum(expected) / 2, rel=1e-4)
    found.backward()
    assert model.encoders["wave"].layer.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("missing", ["mood", "environment"])
def test_batches_without_either_give_no_loss(build, batch, missing):
    model = build(auxiliary=[{"type": "InvariantRisk", "task": "mood"}]).train()
    assert "loss_invariant_risk" not in model(**batch(absent={missing: list(range(6))}), mode="loss")
    data = batch()
    del data["targets"][missing]
    assert "loss_invariant_risk" not in model(**data, mode="loss")


def coloured(count, agreement):
    """The class agrees with the first number in 75% of the samples, with the second as often as the device has it."""
    label = torch.randint(2, (count,))
    honest = torch.where(torch.rand(count) < 0.75, label, 1 - label)
    shortcut = torch.where(torch.rand(count) < agreement, label, 1 - label)
    values = torch.zeros(count, 5)
    values[:, 0], values[:, 1] = 2.0 * honest - 1, 2.0 * shortcut - 1
    return values, label


def test_training_prefers_what_holds_in_every_environment():
    """Arjovsky's coloured digits in two numbers; in the test environment the shortcut is turned around."""
    scores = {}
    for penalised in (False, True):
        torch.manual_seed(0)
        parts = [coloured(1000, agreement) for agreement in (0.9, 0.8)]
        values, labels = (torch.cat(column) for column in zip(*parts, strict=True))
        present = torch.ones(2000, dtype=torch.bool)
        environment = torch.arange(2).repeat_interleave(1000)
        data = {
            "inputs": {"table": {"values": values}},
            "targets": {
                "mood": {"values": labels, "present": present},
                "environment": {"values": environment, "present": present},
            },
        }
        heads = {"mood": {"type": "FusedClassifier", "num_classes": 2}}
        penalty = {"type": "InvariantRisk", "task": "mood", "weight": 300.0, "warmup": 100}
        model = MultimodalModel({"table": {"type": "DoubleTable"}}, None, heads, [penalty] if penalised else [])
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(300):
            model.parse_losses(model(**data, mode="loss"))[0].backward()
            optimizer.step()
            optimizer.zero_grad()
        values, labels = coloured(4000, 0.1)
        with torch.no_grad():
            right = model.eval()({"table": {"values": values}})["mood"].argmax(1) == labels
        scores[penalised] = right.float().mean().item()
    assert scores[False] < 0.3 and scores[True] > 0.6


def test_tasks_that_it_cannot_work_on_are_refused(build):
    with pytest.raises(InputError) as caught:
        build(auxiliary=[{"type": "InvariantRisk", "task": "feeling"}])
    assert str(caught.value) == (
        "invariant_risk: task: 'feeling' is no task that this loss works on; the model has mood, age"
    )
    with pytest.raises(InputError, match="^warmup: expected a whole number of at least 0, found -1$"):
        InvariantRisk(4, {}, task="mood", warmup=-1)
