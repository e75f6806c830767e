"""Answers: soft and hard targets, predictions, refusals."""

import pytest
import torch

from cellseg.errors import InputError
from cellseg.multimodal.heads import AnswerClassifier
from cellseg.multimodal.losses import hard_answer_loss, soft_answer_loss


def head(seed=0, **options):
    torch.manual_seed(seed)
    return AnswerClassifier(6, {}, **{"num_answers": 5, **options}).eval()


@pytest.mark.parametrize(("targets", "loss"), [("soft", soft_answer_loss), ("hard", hard_answer_loss)])
def test_targets_decide_the_loss(make_fused, targets, loss):
    fused, answer = make_fused(), head(targets=targets)
    scores = torch.rand(4, 5, generator=torch.Generator().manual_seed(3))
    rows = torch.tensor([True, False, True, True])
    found = answer.loss(fused, {"values": scores, "present": rows})["loss"]
    torch.testing.assert_close(found, loss(answer(fused)[rows], scores[rows]))
    assert abs(found.item() - loss(answer(fused), scores).item()) > 1e-4


@pytest.mark.parametrize("targets", ["soft", "hard"])
def test_predictions_are_plain(make_fused, targets):
    fused, answer = make_fused(), head(targets=targets)
    logits = answer(fused)
    chances = logits.sigmoid() if targets == "soft" else logits.softmax(1)
    for row, prediction in enumerate(answer.predict(fused)):
        assert prediction.keys() == {"answer", "probabilities"}
        assert prediction["answer"] == logits[row].argmax().item()
        assert prediction["probabilities"] == pytest.approx(chances[row].tolist())
    assert answer.divergence(logits, logits).abs().max() < 1e-6
    assert (answer.divergence(logits, logits.flip(0)) > 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": "softly"}, "targets: expected soft or hard, found 'softly'"),
        ({"num_answers": 0}, "num_answers: expected a whole number of at least 2, found 0"),
    ],
)
def test_mistakes_are_refused(options, message):
    with pytest.raises(InputError) as caught:
        head(**options)
    assert str(caught.value) == message
