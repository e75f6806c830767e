"""The model: joint loss, absent modalities and tasks, one modality alone, modality dropout, auxiliaries, validation."""

import json

import pytest
import torch
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.structures import BaseDataElement

from cellseg.errors import InputError
from cellseg.multimodal import MultimodalModel


def answers(model, inputs):
    with torch.no_grad():
        return model.eval()(inputs)


def take(batch, rows):
    """Some samples of a batch."""
    parts = {
        kind: {name: {key: value[rows] for key, value in part.items()} for name, part in batch[kind].items()}
        for kind in ("inputs", "targets")
    }
    return {**parts, "samples": [batch["samples"][row] for row in rows]}


def test_joint_loss_sums_the_weighted_losses_of_the_tasks(build, batch):
    model, data = build(loss_weights={"age": 0.25}).eval(), batch()
    fused = model.represent(data["inputs"])
    mood = model.heads["mood"].loss(fused, data["targets"]["mood"])["loss"]
    age = model.heads["age"].loss(fused, data["targets"]["age"])["loss"]
    losses = model(**data, mode="loss")
    assert losses.keys() == {"loss_mood", "loss_age"}
    total, _ = model.parse_losses(losses)
    torch.testing.assert_close(total, mood + 0.25 * age)


def test_parts_of_a_loss_are_weighted_and_named(build, batch):
    heads = {"match": {"type": "PairMatcher", "modalities": ["wave", "text"], "embedding": 4}}
    data = batch()
    data["targets"]["match"] = {"values": torch.ones(6), "present": torch.ones(6, dtype=torch.bool)}
    plain, weighted = build(heads=heads).eval(), build(heads=heads, loss_weights={"match": 3.0}).eval()
    first, second = plain(**data, mode="loss"), weighted(**data, mode="loss")
    assert first.keys() == {"loss_match_probability", "loss_match_embedding"}
    for name in first:
        torch.testing.assert_close(3 * first[name], second[name])


def test_a_loss_is_the_mean_over_samples_with_a_target(build, batch):
    model, data = build().eval(), batch(absent={"mood": [0, 3], "age": [0, 1, 2, 3, 4, 5]})
    losses = model(**data, mode="loss")
    alone = model(**take(data, [1, 2, 4, 5]), mode="loss")
    assert losses.keys() == {"loss_mood"}
    torch.testing.assert_close(losses["loss_mood"], alone["loss_mood"])
    del data["targets"]["mood"]
    nothing = model(**data, mode="loss")
    assert nothing.keys() == {"loss_none"} and nothing["loss_none"].item() == 0
    nothing["loss_none"].backward()


def test_predictions_are_one_dict_a_sample(build, batch):
    model, data = build().eval(), batch()
    rows = model(**data, mode="predict")
    outputs = answers(model, data["inputs"])
    assert outputs["mood"].shape == (6, 3) and outputs["age"].shape == (6, 2)
    for row, prediction in enumerate(rows):
        assert prediction.keys() == {"mood", "age", "sample"}
        assert prediction["sample"] == {"id": f"sample {row}"}
        assert prediction["mood"]["label"] == outputs["mood"][row].argmax().item()
        assert prediction["age"]["value"] == pytest.approx(outputs["age"][row].tolist())
    json.dumps(rows)
    assert [row["sample"] for row in model(data["inputs"], mode="predict")] == [{}] * 6


def test_absent_modalities_change_nothing(build, batch):
    model = build()
    absent = {"table": [1, 4], "wave": [0, 1], "text": [5]}
    clean, dirty = batch(absent=absent), batch(absent=absent)
    for name, rows in absent.items():
        content = dirty["inputs"][name]["values"]
        content[rows] = float("nan") if content.is_floating_point() else 19
    expected, found = answers(model, clean["inputs"]), answers(model, dirty["inputs"])
    for task in expected:
        torch.testing.assert_close(found[task], expected[task], rtol=0, atol=0)
        assert found[task].isfinite().all()
    # A sample's answer does not depend on what the others of its batch lack.
    alone = answers(model, take(clean, [1])["inputs"])
    torch.testing.assert_close(alone["mood"], expected["mood"][[1]])
    total, _ = model.train().parse_losses(model(**dirty, mode="loss"))
    total.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_encoders_see_only_samples_that_have_their_modality(build, batch):
    encoders = {"table": {"type": "DoubleTable", "norm": True}, "wave": {"type": "DoubleSequence"}}
    model, data = build(encoders=encoders).train(), batch(absent={"table": [0, 2, 5]})
    present = model.presence(data["inputs"])
    tokens = model.encode(data["inputs"], present)["table"]
    # Batch normalisation takes its statistics over the three that are there.
    linear = model.encoders["table"].layers[0](data["inputs"]["table"]["values"][[1, 3, 4]])
    expected = (linear - linear.mean(0)) / (linear.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(tokens.pooled[[1, 3, 4]], expected, rtol=1e-4, atol=1e-5)
    assert (tokens.pooled[[0, 2, 5]] == 0).all() and (tokens.values[[0, 2, 5]] == 0).all()
    assert tokens.mask[:, 0].tolist() == [False, True, False, True, True, False]


@pytest.mark.parametrize("count", [1, 6])
def test_batch_normalisation_with_a_single_sample(build, batch, count):
    encoders = {"table": {"type": "DoubleTable", "norm": True}, "wave": {"type": "DoubleSequence"}}
    model = build(encoders=encoders).train()
    losses = model(**batch(count, absent={"table": list(range(1, count))}), mode="loss")
    model.parse_losses(losses)[0].backward()
    assert losses["loss_mood"].isfinite()


def test_a_modality_that_no_sample_has(build, batch):
    model, data = build(), batch(absent={"text": list(range(6))})
    marked = answers(model, data["inputs"])
    del data["inputs"]["text"]
    left_out = answers(model, data["inputs"])
    torch.testing.assert_close(left_out["mood"], marked["mood"])
    model.parse_losses(model.train()(**data, mode="loss"))[0].backward()
    assert model.encoders["text"].embed.weight.grad is None
    assert model.encoders["wave"].layer.weight.grad.abs().sum() > 0


def test_presence_is_optional(build, batch):
    model, data = build(), batch()
    marked = answers(model, data["inputs"])
    for part in data["inputs"].values():
        del part["present"]
    torch.testing.assert_close(answers(model, data["inputs"])["mood"], marked["mood"])


@pytest.mark.parametrize("name", ["table", "wave", "text"])
def test_one_modality_without_a_fusion(settings, batch, name):
    encoder = settings()["encoders"][name]
    model = MultimodalModel({name: encoder}, None, settings()["heads"], auxiliary=[])
    data = batch(absent={name: [2]})
    fused = model.represent(data["inputs"])
    torch.testing.assert_close(fused.pooled, fused.encoded[name].pooled)
    assert (fused.pooled[2] == 0).all() and (fused.pooled[1] != 0).any()
    torch.testing.assert_close(fused.tokens[name].values, fused.encoded[name].values)
    model.parse_losses(model(**data, mode="loss"))[0].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert len(model(**data, mode="predict")) == 6


def test_everything_learns(build, batch):
    model = build().train()
    model.parse_losses(model(**batch(), mode="loss"))[0].backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_learns_what_neither_modality_knows_alone():
    """The class is whether the first numbers of two tables have the same sign."""
    encoder = {"type": "DoubleTable", "width": 16}
    heads = {"same": {"type": "FusedClassifier", "num_classes": 2, "hidden": 16}}
    scores = {}
    for names in (("left", "right"), ("left",), ("right",)):
        torch.manual_seed(0)
        fusion = {"type": "DoubleFusion", "width": 16} if len(names) > 1 else None
        model = MultimodalModel(dict.fromkeys(names, encoder), fusion, heads)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(200):
            model.parse_losses(model(**signs(64), mode="loss"))[0].backward()
            optimizer.step()
            optimizer.zero_grad()
        data = signs(400)
        found = answers(model, data["inputs"])["same"].argmax(1)
        scores[names] = (found == data["targets"]["same"]["values"]).float().mean().item()
    assert scores.pop(("left", "right")) > 0.9
    assert all(score < 0.6 for score in scores.values())


def signs(count):
    left, right = torch.randn(count, 5), torch.randn(count, 5)
    present = torch.ones(count, dtype=torch.bool)
    same = ((left[:, 0] > 0) == (right[:, 0] > 0)).long()
    return {
        "inputs": {"left": {"values": left}, "right": {"values": right}},
        "targets": {"same": {"values": same, "present": present}},
    }


def test_modality_dropout_in_training_only(build, batch):
    data = batch(64, absent={"table": list(range(32))})
    seen = []

    def note(module, arguments):
        seen.append(arguments[1])

    model = build(modality_dropout={"table": 0.5, "wave": 1.0})
    model.fusion.register_forward_pre_hook(note)
    model.train()(**data, mode="loss")
    model.eval()(**data, mode="loss")
    trained, evaluated = seen
    assert not trained["wave"].any() and trained["text"].all()
    assert not trained["table"][:32].any() and 4 <= trained["table"][32:].sum() <= 28
    assert evaluated["wave"].all() and evaluated["table"][32:].all()


def test_trainings_in_which_an_auxiliary_finds_nothing_are_refused(build, batch):
    idle = dict(type="InvariantRisk", task="mood", environment="hospital")
    model, data = build(auxiliary=[idle]).train(), batch()
    for _ in range(99):
        assert "loss_invariant_risk" not in model(data["inputs"], data["targets"], mode="loss")
    with pytest.raises(InputError) as caught:
        model(data["inputs"], data["targets"], mode="loss")
    assert str(caught.value) == (
        "100 batches in a row give the auxiliary loss 'invariant_risk' nothing to learn from, the last one has targets "
        f"of {', '.join(data['targets'])} and inputs of {', '.join(data['inputs'])}; leave it out, or add what it reads"
    )
    # One batch in a hundred with what it reads is enough.
    some = {**data["targets"], "hospital": dict(values=torch.arange(len(data["targets"]["mood"]["values"])) % 2)}
    some["hospital"]["present"] = torch.ones(len(some["hospital"]["values"]), dtype=torch.bool)
    model = build(auxiliary=[idle]).train()
    for targets in ([data["targets"]] * 99 + [some]) * 2:
        losses = model(data["inputs"], targets, mode="loss")
    assert "loss_invariant_risk" in losses


def test_the_text_encoder_can_learn_more_slowly(build):
    model = build(auxiliary=[{"type": "ModalityContrast"}])
    config = {"type": "OptimWrapper", "optimizer": {"type": "Adam", "lr": 1e-3, "weight_decay": 1e-4}}
    construct = DefaultOptimWrapperConstructor(config, {"custom_keys": {"encoders.text": {"lr_mult": 0.1}}})
    wrapper = construct(model)
    rates = {id(group["params"][0]): group["lr"] for group in wrapper.param_groups if group["params"]}
    for name, parameter in model.named_parameters():
        slow = name.startswith("encoders.text.")
        assert rates[id(parameter)] == pytest.approx(1e-4 if slow else 1e-3), name
    assert len(rates) == len(list(model.parameters()))


def test_auxiliaries_work_in_training_only_and_grow(build, batch):
    auxiliary = [
        {"type": "ModalityContrast", "weight": 2.0, "warmup": 2},
        {"type": "ModalityContrast", "name": "again"},
    ]
    model, data = build(auxiliary=auxiliary).train(), batch()
    model.auxiliary[1].load_state_dict(model.auxiliary[0].state_dict())
    for step, factor in enumerate((0.0, 1.0, 2.0, 2.0)):
        assert model.training_steps.item() == step
        losses = model(**data, mode="loss")
        assert losses.keys() == {"loss_mood", "loss_age", "loss_modality_contrast", "loss_again"}
        torch.testing.assert_close(losses["loss_modality_contrast"], factor * losses["loss_again"])
    assert model.eval()(**data, mode="loss").keys() == {"loss_mood", "loss_age"}
    # A resumed training goes on where it stopped.
    resumed = build(auxiliary=auxiliary)
    resumed.load_state_dict(model.state_dict())
    assert resumed.training_steps.item() == 4


def test_auxiliaries_alone_can_be_trained(build, batch):
    model = build(auxiliary=[{"type": "ModalityContrast"}]).train()
    losses = model(batch()["inputs"], {}, mode="loss")
    assert losses.keys() == {"loss_modality_contrast"}


def test_validation_gives_losses_beside_predictions(build, batch):
    data = batch()
    for wanted in (False, True):
        model = build(validation_loss=wanted, auxiliary=[{"type": "ModalityContrast"}]).eval()
        with torch.no_grad():
            rows = model.val_step(data)
        if wanted:
            *rows, last = rows
            assert isinstance(last, BaseDataElement) and last.keys() == ["loss"]
            expected = model(**data, mode="loss")
            assert last.loss.keys() == expected.keys() == {"loss_mood", "loss_age"}
            for name, value in expected.items():
                torch.testing.assert_close(last.loss[name], value)
        assert rows == model(**data, mode="predict")


def test_batches_of_something_else_are_refused(build, batch):
    model, data = build(), batch()
    with pytest.raises(InputError) as caught:
        model({"sound": data["inputs"]["wave"]})
    assert str(caught.value) == (
        "the batch has none of the model's modalities (table, wave, text), but sound; "
        "read them from the data or change the encoders"
    )


@pytest.mark.parametrize("found", ["feeling", "nothing"])
def test_trainings_without_targets_are_refused(build, batch, found):
    model, data = build().train(), batch()
    others = {"feeling": data["targets"]["mood"]} if found == "feeling" else {}
    # Where few samples have targets, a batch may have none, and is no reason to stop.
    for targets in ([others] * 99 + [data["targets"]]) * 2 + [others] * 99:
        assert model(data["inputs"], targets, mode="loss").keys() >= ({"loss_none"} if targets is others else set())
    with pytest.raises(InputError) as caught:
        model(data["inputs"], others, mode="loss")
    assert str(caught.value) == (
        "100 batches in a row have targets of none of the model's tasks (mood, age), "
        f"the last one of {found}; name the heads as the data names its targets"
    )
    assert model.eval()(data["inputs"], others, mode="loss").keys() == {"loss_none"}
