"""Consistency: the same answer without one modality, the whole one being the teacher."""

import pytest
import torch

from cellseg.errors import InputError
from cellseg.multimodal.dropping import drop_one

ALL = {"type": "Consistency"}


@pytest.mark.parametrize("tasks", [None, ["mood"], ["age"], ["mood", "age"]])
def test_divergence_from_the_whole_answer(build, batch, tasks):
    model = build(auxiliary=[ALL | {"tasks": tasks}]).train()
    data = batch(absent={"table": [0, 1], "wave": [0]})
    torch.manual_seed(3)
    found = model(**data, mode="loss")["loss_consistency"]
    torch.manual_seed(3)
    left, rows = drop_one(model.presence(data["inputs"]))
    assert rows.tolist() == [False, True, True, True, True, True]
    for name, present in left.items():
        data["inputs"][name]["present"] = present
    partial = model(data["inputs"])
    whole = model(batch(absent={"table": [0, 1], "wave": [0]})["inputs"])
    wanted = whole["mood"].softmax(1)
    losses = {
        "mood": (wanted * (wanted.log() - partial["mood"].log_softmax(1))).sum(1)[rows].mean(),
        "age": (partial["age"] - whole["age"]).square().mean(1)[rows].mean(),
    }
    chosen = [losses[task] for task in tasks or ("mood", "age")]
    torch.testing.assert_close(found, sum(chosen) / len(chosen))


def test_the_whole_answer_is_the_teacher(build, batch):
    """The bias before a divergence of equal kind moves both answers; only the part without a modality may learn."""
    model = build(auxiliary=[ALL | {"tasks": ["age"]}]).train()
    data = batch()
    torch.manual_seed(3)
    loss = model(**data, mode="loss")["loss_consistency"]
    head = model.heads["age"].layers[-1]
    (found,) = torch.autograd.grad(loss, head.bias, retain_graph=True)
    torch.manual_seed(3)
    left, _ = drop_one(model.presence(data["inputs"]))
    whole = model(data["inputs"])["age"]
    for name, present in left.items():
        data["inputs"][name]["present"] = present
    difference = model(data["inputs"])["age"] - whole
    # With a gradient through both, the bias would cancel.
    torch.testing.assert_close(found, difference.mean(0), rtol=1e-4, atol=1e-7)


def test_samples_of_one_modality_have_nothing_to_lose(build, batch):
    model = build(auxiliary=[ALL]).train()
    everything = list(range(6))
    assert "loss_consistency" not in model(**batch(absent={"table": everything, "wave": everything}), mode="loss")


def test_heads_that_write_are_left_out(build, batch):
    heads = {
        "mood": {"type": "FusedClassifier", "num_classes": 3},
        "say": {"type": "CaptionTransformer", "vocabulary_size": 9, "pad": 0, "begin": 1, "end": 2, "width": 8}
        | {"heads": 2, "layers": 1},
    }
    model = build(heads=heads, auxiliary=[ALL]).train()
    assert model(**batch(), mode="loss")["loss_consistency"].isfinite()
    with pytest.raises(InputError) as caught:
        build(heads=heads, auxiliary=[ALL | {"tasks": ["say"]}])
    assert str(caught.value) == "consistency: tasks: 'say' is no task that this loss works on; the model has mood"
