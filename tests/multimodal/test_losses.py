"""Every loss beside a plain loop over samples, classes, time steps or pairs."""

import math

import pytest
import torch

from cellseg.errors import InputError
from cellseg.multimodal.losses import (
    contrastive_loss,
    cross_entropy,
    hard_answer_loss,
    hinge_loss,
    info_nce,
    invariance_penalty,
    joint_loss,
    multi_label_loss,
    positive_pairs,
    regression_loss,
    sequence_cross_entropy,
    soft_answer_loss,
)

SEEDS = range(5)


def rand(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def draw(seed, high, *shape):
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


def log_softmax(row):
    total = math.log(sum(math.exp(value) for value in row))
    return [value - total for value in row]


def binary(logit, target):
    probability = 1 / (1 + math.exp(-logit))
    return -target * math.log(probability) - (1 - target) * math.log(1 - probability)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("weights", [None, [1.0, 3.0, 0.5]])
def test_cross_entropy_is_equation_1(seed, weights):
    logits, labels = rand(seed, 4, 3), draw(seed, 3, 4)
    each = [-log_softmax(row)[label] for row, label in zip(logits.tolist(), labels.tolist(), strict=True)]
    shares = [1.0 if weights is None else weights[label] for label in labels.tolist()]
    expected = sum(share * loss for share, loss in zip(shares, each, strict=True)) / sum(shares)
    found = cross_entropy(logits, labels, None if weights is None else torch.tensor(weights))
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["labels", "mse", "l1"])
def test_means_over_what_is_known(seed, kind):
    values, targets = rand(seed, 5, 3), rand(seed + 1, 5, 3)
    targets = targets.sigmoid() if kind == "labels" else targets
    known = rand(seed + 2, 5, 3) > 0
    known[0] = False
    known[1] = True

    def one(value, target):
        if kind == "labels":
            return binary(value, target)
        return (value - target) ** 2 if kind == "mse" else abs(value - target)

    rows = []
    for row in range(5):
        losses = [one(values[row, k].item(), targets[row, k].item()) for k in range(3) if known[row, k]]
        if losses:
            rows.append(sum(losses) / len(losses))
    # What is unknown may hold anything, and nothing of it reaches the gradient.
    targets[~known] = math.nan
    values.requires_grad_()
    loss = (
        multi_label_loss(values, targets, known) if kind == "labels" else regression_loss(values, targets, known, kind)
    )
    assert loss.item() == pytest.approx(sum(rows) / len(rows), rel=1e-5)
    loss.backward()
    assert (values.grad[~known] == 0).all() and (values.grad[known] != 0).all()


def test_without_a_mask_all_is_known():
    values, targets = rand(0, 4, 2), rand(1, 4, 2)
    everything = torch.ones(4, 2, dtype=torch.bool)
    for loss in (regression_loss, multi_label_loss):
        torch.testing.assert_close(loss(values, targets), loss(values, targets, everything))
    nothing = regression_loss(values.requires_grad_(), targets, ~everything)
    nothing.backward()
    assert nothing.item() == 0 and (values.grad == 0).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_answers_soft_and_hard(seed):
    logits, scores = rand(seed, 6, 4), rand(seed + 1, 6, 4).clamp(0, 1)
    scores[2] = 0
    soft = [sum(binary(logits[row, a].item(), scores[row, a].item()) for a in range(4)) for row in range(6)]
    assert soft_answer_loss(logits, scores).item() == pytest.approx(sum(soft) / 6, rel=1e-5)
    hard = []
    for row in range(6):
        best = max(range(4), key=lambda a: scores[row, a].item())
        if scores[row, best] > 0:
            hard.append(-log_softmax(logits[row].tolist())[best])
    assert len(hard) < 6
    assert hard_answer_loss(logits, scores).item() == pytest.approx(sum(hard) / len(hard), rel=1e-5)


def test_hard_answers_without_any():
    logits = rand(0, 2, 3).requires_grad_()
    loss = hard_answer_loss(logits, torch.zeros(2, 3))
    loss.backward()
    assert loss.item() == 0 and (logits.grad == 0).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_sequences_are_summed_over_time_steps(seed):
    count, length, words = 3, 6, 5
    logits, tokens = rand(seed, count, length, words), draw(seed, words, count, length)
    lengths = [6, 2, 4]
    mask = torch.arange(length) < torch.tensor(lengths)[:, None]
    total = 0.0
    for row in range(count):
        for step in range(lengths[row]):
            total -= log_softmax(logits[row, step].tolist())[tokens[row, step]]
    # Padding may be a number that is no word.
    tokens[~mask] = 99
    logits.requires_grad_()
    per_sample = sequence_cross_entropy(logits, tokens, mask)
    assert per_sample.item() == pytest.approx(total / count, rel=1e-5)
    assert sequence_cross_entropy(logits, tokens, mask, "token").item() == pytest.approx(total / 12, rel=1e-5)
    per_sample.backward()
    assert (logits.grad[~mask] == 0).all() and (logits.grad[mask] != 0).all()


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("seed", SEEDS)
def test_contrastive_is_equation_2_and_its_square(seed, power):
    distances, paired = rand(seed, 8).abs() * 2, draw(seed, 2, 8)
    margin = 1.5
    each = [
        y * d**power + (1 - y) * max(0.0, margin - d) ** power
        for d, y in zip(distances.tolist(), paired.tolist(), strict=True)
    ]
    assert contrastive_loss(distances, paired, margin, power).item() == pytest.approx(sum(each) / 8, rel=1e-5)


def test_positive_pairs_follow_what_is_known():
    # 0 and 1 show the same picture; 2 has the caption of 0; 3 is the picture of 0 with a caption that does not fit.
    pictures, captions = torch.tensor([7, 7, 8, 7]), torch.tensor([1, 2, 1, 3])
    paired = torch.tensor([1.0, 1.0, 1.0, 0.0])
    expected = [[1, 1, 1, 0], [1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 0]]
    assert positive_pairs(paired, pictures, captions).int().tolist() == expected
    assert positive_pairs(paired).int().tolist() == torch.diag(paired).int().tolist()
    by_caption = [[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert positive_pairs(paired, None, captions).int().tolist() == by_caption


@pytest.mark.parametrize("seed", SEEDS)
def test_positive_pairs_against_a_search(seed):
    count = 7
    first, second, paired = draw(seed, 4, count), draw(seed + 9, 4, count), draw(seed + 5, 2, count)
    expected = [
        [any(paired[k] and first[k] == first[i] and second[k] == second[j] for k in range(count)) for j in range(count)]
        for i in range(count)
    ]
    assert positive_pairs(paired, first, second).tolist() == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_info_nce_in_both_directions(seed):
    similarity, positives = rand(seed, 5, 4), draw(seed, 3, 5, 4) == 0
    positives[0], positives[1, 1] = False, True

    def one_way(rows, flags):
        losses = []
        for row, flag in zip(rows, flags, strict=True):
            if any(flag):
                good = sum(math.exp(value) for value, yes in zip(row, flag, strict=True) if yes)
                losses.append(-math.log(good / sum(math.exp(value) for value in row)))
        return sum(losses) / len(losses)

    expected = one_way(similarity.tolist(), positives.tolist())
    expected += one_way(similarity.t().tolist(), positives.t().tolist())
    similarity.requires_grad_()
    loss = info_nce(similarity, positives)
    assert loss.item() == pytest.approx(expected / 2, rel=1e-5)
    loss.backward()
    assert similarity.grad.isfinite().all()


def test_info_nce_with_equal_captions_reaches_zero():
    # Captions 0 and 1 are the same text: neither picture can prefer its own.
    similarity = torch.tensor([[40.0, 40.0, -40.0], [40.0, 40.0, -40.0], [-40.0, -40.0, 40.0]])
    own = torch.eye(3, dtype=torch.bool)
    equal = positive_pairs(torch.ones(3), None, torch.tensor([5, 5, 6]))
    assert info_nce(similarity, equal).item() == pytest.approx(0, abs=1e-6)
    assert info_nce(similarity, own).item() == pytest.approx(2 * math.log(2) / 3, rel=1e-5)


def test_info_nce_without_any_pair():
    similarity = rand(0, 3, 3).requires_grad_()
    loss = info_nce(similarity, torch.zeros(3, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0 and (similarity.grad == 0).all()


@pytest.mark.parametrize("negatives", ["hardest", "all"])
@pytest.mark.parametrize("seed", SEEDS)
def test_hinge_in_both_directions(seed, negatives):
    count, margin = 5, 0.7
    similarity = rand(seed, count, count)
    positives = torch.eye(count, dtype=torch.bool)
    positives[3, 3] = False
    positives[0, 1] = positives[1, 0] = True
    choose = max if negatives == "hardest" else sum
    total = 0.0
    for i in (0, 1, 2, 4):
        own = similarity[i, i].item()
        wrong = [j for j in range(count) if not positives[i, j]]
        total += choose(max(0.0, margin + similarity[i, j].item() - own) for j in wrong)
        wrong = [j for j in range(count) if not positives[j, i]]
        total += choose(max(0.0, margin + similarity[j, i].item() - own) for j in wrong)
    assert hinge_loss(similarity, positives, margin, negatives).item() == pytest.approx(total / 4, rel=1e-5)


def test_hinge_without_pairs_or_others():
    assert hinge_loss(rand(0, 3, 3), torch.zeros(3, 3, dtype=torch.bool)).item() == 0
    assert hinge_loss(rand(0, 1, 1), torch.ones(1, 1, dtype=torch.bool)).item() == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_invariance_penalty_is_the_squared_slope(seed):
    logits, labels = rand(seed, 6, 3).requires_grad_(), draw(seed, 3, 6)
    penalty = invariance_penalty(logits, lambda output: cross_entropy(output, labels))
    # d/dw of the cross-entropy of w z at w = 1 is the mean of sum_c (p_c - y_c) z_c.
    slope = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        chances = [math.exp(value) for value in log_softmax(row)]
        slope += sum((p - (c == label)) * z for c, (p, z) in enumerate(zip(chances, row, strict=True))) / 6
    assert penalty.item() == pytest.approx(slope**2, rel=1e-4, abs=1e-9)
    # It can be trained on: the gradient is that of differences.
    penalty.backward()
    shifted, step = logits.detach().double(), 1e-4
    numbers = []
    for sign in (1, -1):
        moved = shifted.clone()
        moved[0, 0] += sign * step
        probabilities = moved.softmax(1)
        hot = torch.nn.functional.one_hot(labels, 3)
        numbers.append((((probabilities - hot) * moved).sum(1).mean() ** 2).item())
    assert logits.grad[0, 0].item() == pytest.approx((numbers[0] - numbers[1]) / (2 * step), rel=1e-2, abs=1e-6)


def test_invariance_penalty_vanishes_at_the_best_scale():
    values = torch.tensor([[1.0], [2.0]])
    best = invariance_penalty(values, lambda output: regression_loss(output, values))
    assert best.item() == 0
    # Risk (2 w y - y)^2: slope 4 y^2 (2 w - 1), mean of 4 and 16 at w = 1.
    twice = invariance_penalty(2 * values, lambda output: regression_loss(output, values))
    assert twice.item() == pytest.approx(100.0)


def test_joint_loss_is_equation_4():
    losses = {
        "mood": {"loss": torch.tensor(2.0)},
        "match": {"loss_probability": torch.tensor(3.0), "loss_embedding": torch.tensor(5.0)},
        "caption": {},
    }
    terms = joint_loss(losses, {"match": 0.5, "absent": 9.0})
    assert {name: term.item() for name, term in terms.items()} == {
        "loss_mood": 2.0,
        "loss_match_probability": 1.5,
        "loss_match_embedding": 2.5,
    }


def test_losses_are_computed_in_float32():
    logits, labels = rand(0, 4, 3).half(), draw(0, 3, 4)
    assert cross_entropy(logits, labels).dtype == torch.float32
    assert regression_loss(logits, rand(1, 4, 3).half()).dtype == torch.float32
    assert info_nce(logits[:, :1] @ logits[:, :1].t(), torch.eye(4, dtype=torch.bool)).dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: regression_loss(torch.zeros(4, 1), torch.zeros(4)),
            "numbers: the model gives [4, 1] and the targets are [4] (samples first); make the head as wide as the "
            "data",
        ),
        (
            lambda: multi_label_loss(torch.zeros(4, 3), torch.zeros(4, 2)),
            "labels: the model gives [4, 3] and the targets are [4, 2] (samples first); make the head as wide as the "
            "data",
        ),
        (
            lambda: soft_answer_loss(torch.zeros(1, 3), torch.zeros(1, 1)),
            "answers: the model gives [1, 3] and the targets are [1, 1] (samples first); make the head as wide as the "
            "data",
        ),
        (
            lambda: contrastive_loss(torch.zeros(3), torch.zeros(3, 3)),
            "pairs: the model gives [3] and the targets are [3, 3] (samples first); make the head as wide as the data",
        ),
        (lambda: contrastive_loss(torch.zeros(3), torch.zeros(3), power=3), "power: expected 1 or 2, found 3"),
        (
            lambda: hinge_loss(torch.zeros(2, 2), torch.eye(2, dtype=torch.bool), negatives="some"),
            "negatives: expected hardest or all, found 'some'",
        ),
        (
            lambda: sequence_cross_entropy(torch.zeros(1, 2, 3), torch.zeros(1, 2), torch.ones(1, 2), "word"),
            "per: expected sample or token, found 'word'",
        ),
    ],
)
def test_mistakes_are_refused(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == message
