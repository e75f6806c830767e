"""Classes and labels: losses over present samples, predictions, refusals."""

import pytest
import torch

from cellseg.errors import InputError
from cellseg.multimodal.heads import FusedClassifier


def head(seed=0, **options):
    torch.manual_seed(seed)
    return FusedClassifier(6, {"image": 5}, **{"num_classes": 3, **options}).eval()


def test_loss_is_the_mean_over_present_samples(make_fused):
    fused = make_fused()
    classify = head()
    target = {"values": torch.tensor([2, 0, 99, 1]), "present": torch.tensor([True, True, False, True])}
    chances = classify(fused).softmax(1)
    expected = -(chances[0, 2].log() + chances[1, 0].log() + chances[3, 1].log()) / 3
    torch.testing.assert_close(classify.loss(fused, target)["loss"], expected)
    assert classify.loss(fused, {**target, "present": torch.zeros(4, dtype=torch.bool)}) == {}


def test_class_weights_count(make_fused):
    fused = make_fused()
    target = {"values": torch.tensor([2, 0, 0, 1]), "present": torch.ones(4, dtype=torch.bool)}
    weighted = head(class_weights=[1.0, 4.0, 2.0])
    each = -weighted(fused).log_softmax(1)[torch.arange(4), target["values"]]
    expected = (2 * each[0] + each[1] + each[2] + 4 * each[3]) / 8
    torch.testing.assert_close(weighted.loss(fused, target)["loss"], expected)
    assert "class_weights" not in weighted.state_dict()


def test_predictions_are_plain(make_fused):
    fused, classify = make_fused(), head()
    chances = classify(fused).softmax(1)
    for row, prediction in enumerate(classify.predict(fused)):
        assert prediction.keys() == {"label", "probabilities"}
        assert type(prediction["label"]) is int and prediction["label"] == chances[row].argmax().item()
        assert prediction["probabilities"] == pytest.approx(chances[row].tolist())


def test_several_labels(make_fused):
    fused, classify = make_fused(), head(num_classes=1 + 2, multi_label=True)
    values = torch.tensor([[1.0, 0.0, 1.0]] * 4)
    known = torch.ones(4, 3, dtype=torch.bool)
    known[0, 1:] = False
    target = {"values": values, "mask": known, "present": torch.tensor([True, False, True, False])}
    chances = classify(fused).sigmoid()
    expected = -(chances[0, 0].log() + (chances[2, 0] * (1 - chances[2, 1]) * chances[2, 2]).log() / 3) / 2
    torch.testing.assert_close(classify.loss(fused, target)["loss"], expected)
    for row, prediction in enumerate(classify.predict(fused)):
        assert prediction["labels"] == (chances[row] >= 0.5).nonzero()[:, 0].tolist()
        assert prediction["probabilities"] == pytest.approx(chances[row].tolist())


@pytest.mark.parametrize("multi_label", [False, True])
def test_divergence_is_a_distance_of_answers(make_fused, multi_label):
    classify = head(multi_label=multi_label)
    output, other = classify(make_fused()), classify(make_fused(seed=1))
    assert classify.divergence(output, output).tolist() == pytest.approx([0.0] * 4, abs=1e-6)
    found = classify.divergence(output, other)
    if multi_label:
        wanted, had = other.sigmoid(), output.sigmoid()
        expected = (wanted * (wanted / had).log() + (1 - wanted) * ((1 - wanted) / (1 - had)).log()).mean(1)
    else:
        wanted, had = other.softmax(1), output.softmax(1)
        expected = (wanted * (wanted / had).log()).sum(1)
    torch.testing.assert_close(found, expected)
    assert (found > 0).all()


def test_hidden_layer_and_dropout_are_used(make_fused):
    fused = make_fused()
    assert head(hidden=7).layers[0].weight.shape == (7, 6)
    noisy = head(dropout=0.5).train()
    assert not torch.equal(noisy(fused), noisy(fused))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 1}, "num_classes: expected a whole number of at least 2, found 1"),
        ({"num_classes": "{num_classes}"}, "num_classes: expected a whole number of at least 2, found '{num_classes}'"),
        ({"class_weights": [1, 2]}, "class_weights: expected 3, one a class, found 2"),
        ({"class_weights": [1, 0, 2]}, "class_weights: expected numbers above 0, found [1, 0, 2]"),
        (
            {"class_weights": [1, 1, 2], "multi_label": True},
            "class_weights: are for one class a sample; leave them out with multi_label",
        ),
    ],
)
def test_mistakes_are_refused(options, message):
    with pytest.raises(InputError) as caught:
        head(**options)
    assert str(caught.value) == message
