"""Losses of multimodal models as pure functions: of classes, numbers, answers, sequences, pairs and environments.

Equation numbers are those of Ding et al., "Cross-Attention Transformer-Based Visual-Language Fusion for Multimodal
Image Analysis" (2025). All losses are computed in float32, also under mixed precision.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from cellseg.errors import InputError

REGRESSION_LOSSES = {"mse": functional.mse_loss, "l1": functional.l1_loss}


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy of one class a sample (equation 1).

    Args:
        logits: ``[N, K]``, N > 0.
        labels: int64 ``[N]``, 0 to K - 1.
        weights: ``[K]``, of the classes; the mean over samples is then weighted.
    """
    return functional.cross_entropy(logits.float(), labels, weight=weights)


def multi_label_loss(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of K independent labels: mean over the known labels of a sample, then over samples.

    Args:
        logits: ``[N, K]``.
        targets: ``[N, K]``, 0 to 1.
        known: bool ``[N, K]``; None: all are. Samples of which nothing is known do not count.

    Raises:
        InputError: the shapes differ.
    """
    _check_same_shape("labels", logits, targets)
    targets = _without_unknown(targets, known)
    each = functional.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
    return _mean_of_known(each, known)


def regression_loss(values: Tensor, targets: Tensor, known: Tensor | None = None, kind: str = "mse") -> Tensor:
    """Squared (``mse``) or absolute (``l1``) error: mean over the known numbers of a sample, then over samples.

    Args:
        values: ``[N, K]``.
        targets: ``[N, K]``.
        known: bool ``[N, K]``; None: all are. Samples of which nothing is known do not count.
        kind: ``mse`` or ``l1``.

    Raises:
        InputError: the shapes differ.
    """
    _check_same_shape("numbers", values, targets)
    each = REGRESSION_LOSSES[kind](values.float(), _without_unknown(targets, known), reduction="none")
    return _mean_of_known(each, known)


def soft_answer_loss(logits: Tensor, scores: Tensor) -> Tensor:
    """Binary cross-entropy against soft scores: summed over the answers, mean over the questions.

    A question may have several right answers, and none that the vocabulary knows (Teney et al. 2018).

    Args:
        logits: ``[N, A]``.
        scores: ``[N, A]``, 0 to 1: how many of the people asked gave the answer.

    Raises:
        InputError: the shapes differ.
    """
    _check_same_shape("answers", logits, scores)
    each = functional.binary_cross_entropy_with_logits(logits.float(), scores.float(), reduction="none")
    return each.sum(dim=1).mean()


def hard_answer_loss(logits: Tensor, scores: Tensor) -> Tensor:
    """Cross-entropy with the best answer of each question; arguments as ``soft_answer_loss``.

    Questions that no known answer fits (all scores 0) do not count; 0 if there are no others.
    """
    _check_same_shape("answers", logits, scores)
    rows = (scores > 0).any(dim=1)
    each = functional.cross_entropy(logits[rows].float(), scores[rows].argmax(dim=1), reduction="sum")
    return each / rows.sum().clamp(min=1)


def sequence_cross_entropy(logits: Tensor, tokens: Tensor, mask: Tensor, per: str = "sample") -> Tensor:
    """Cross-entropy of a text, token by token (equation 3; its sum over classes is meant over time steps).

    Args:
        logits: ``[N, T, V]``, for the token at each time step, given those before it.
        tokens: int64 ``[N, T]``, the true ones.
        mask: bool ``[N, T]``, false for padding.
        per: ``sample``: the sum over the time steps of a text, mean over the texts, as printed. ``token``: mean over
            all real tokens of the batch, so that a long text does not weigh more for each of its tokens.

    Raises:
        InputError: ``per`` is another text.
    """
    if per not in ("sample", "token"):
        raise InputError(f"per: expected sample or token, found {per!r}")
    each = functional.cross_entropy(logits.float().transpose(1, 2), tokens.masked_fill(~mask, 0), reduction="none")
    total = each.masked_fill(~mask, 0.0).sum()
    return total / (len(tokens) if per == "sample" else mask.sum().clamp(min=1))


def contrastive_loss(distances: Tensor, paired: Tensor, margin: float = 1.0, power: int = 2) -> Tensor:
    """``y D^p + (1 - y) max(0, m - D)^p``, mean over all pairs.

    Equation 2 prints ``p = 1``; the usual form squares both terms (Hadsell et al. 2006).

    Args:
        distances: D >= 0, of any shape.
        paired: y, 1 for a pair and 0 for none, of the same shape.
        margin: m, how far apart what is no pair is to be.
        power: p, 1 or 2.

    Raises:
        InputError: the shapes differ, or another power.
    """
    _check_same_shape("pairs", distances, paired)
    if power not in (1, 2):
        raise InputError(f"power: expected 1 or 2, found {power!r}")
    distances, paired = distances.float(), paired.float()
    apart = (margin - distances).clamp(min=0)
    return (paired * distances**power + (1 - paired) * apart**power).mean()


def positive_pairs(paired: Tensor, first_ids: Tensor | None = None, second_ids: Tensor | None = None) -> Tensor:
    """Which first and second parts in a batch are known to belong together.

    Row i and column j do where some sample of the batch pairs what equals the first part of i with what equals the
    second part of j. So a caption that stands in the batch twice is never taken for a wrong one of its own image, and
    one that was written to differ in a fact stays wrong.

    Args:
        paired: ``[N]``, 1 where the two parts of a sample belong together.
        first_ids: int64 ``[N]``, equal for equal first parts; None: all differ.
        second_ids: int64 ``[N]``, equal for equal second parts; None: all differ.

    Returns:
        bool ``[N, N]``.
    """
    rows = torch.arange(len(paired), device=paired.device)
    same_first = _equal(rows if first_ids is None else first_ids)
    same_second = _equal(rows if second_ids is None else second_ids)
    return (same_first.float() @ (paired.float()[:, None] * same_second.float())) > 0


def info_nce(similarity: Tensor, positives: Tensor) -> Tensor:
    """InfoNCE in both directions: the mean of rows against columns and columns against rows.

    A row's loss is ``-log`` of the share that its positives together have of ``sum exp(similarity)``, so that of
    several it need not prefer one (van den Oord et al. 2018, with Miech et al. 2020 for several positives). Rows
    without a positive are candidates only.

    Args:
        similarity: ``[N, M]``, divided by the temperature already.
        positives: bool ``[N, M]``.

    Returns:
        0 where there is no positive at all.
    """
    similarity = similarity.float()
    both = [_one_way(similarity, positives), _one_way(similarity.t(), positives.t())]
    return sum(both) / 2


def hinge_loss(similarity: Tensor, positives: Tensor, margin: float = 0.2, negatives: str = "hardest") -> Tensor:
    """``max(0, margin + s(i, j) - s(i, i))`` in both directions, summed over them, mean over the true pairs.

    Args:
        similarity: ``[N, N]``; the two parts of a sample meet on the diagonal.
        positives: bool ``[N, N]``; a sample whose diagonal is false gives candidates only.
        margin: how much more similar a pair is to be than what is none.
        negatives: ``hardest``: the most similar wrong one counts (VSE++, Faghri et al. 2018). ``all``: their sum.

    Returns:
        0 where there is no pair at all.

    Raises:
        InputError: ``negatives`` is another text.
    """
    if negatives not in ("hardest", "all"):
        raise InputError(f"negatives: expected hardest or all, found {negatives!r}")
    similarity = similarity.float()
    anchors = positives.diagonal()
    cost = similarity.new_zeros(())
    for scores, wrong in ((similarity, ~positives), (similarity.t(), ~positives.t())):
        excess = (margin + scores - scores.diagonal()[:, None]).clamp(min=0) * wrong
        each = excess.amax(dim=1) if negatives == "hardest" else excess.sum(dim=1)
        cost = cost + each[anchors].sum()
    return cost / anchors.sum().clamp(min=1)


def invariance_penalty(output: Tensor, risk: Callable[[Tensor], Tensor]) -> Tensor:
    """How far an environment's risk is from its least along the scale of the output (Arjovsky et al. 2019, IRMv1).

    The square of ``d risk(w output) / dw`` at ``w = 1``; 0 where no environment could gain by scaling the same output.

    Args:
        output: of a head, for the samples of one environment.
        risk: from such outputs to their mean loss.
    """
    scale = torch.ones((), device=output.device, requires_grad=True)
    (slope,) = torch.autograd.grad(risk(output.float() * scale), scale, create_graph=True)
    return slope.square()


def joint_loss(losses: Mapping[str, Mapping[str, Tensor]], weights: Mapping[str, float]) -> dict[str, Tensor]:
    """The terms of ``L = sum_t lambda_t L_t`` over the tasks that a batch has (equation 4); mmengine sums them.

    Args:
        losses: of each task by part, named ``loss`` or ``loss_PART``.
        weights: lambda by task; 1 for a task that is not named.

    Returns:
        Weighted losses by name: ``loss_TASK`` or ``loss_TASK_PART``.
    """
    return {
        f"loss_{task}{name.removeprefix('loss')}": weights.get(task, 1.0) * loss
        for task, parts in losses.items()
        for name, loss in parts.items()
    }


def _one_way(similarity: Tensor, positives: Tensor) -> Tensor:
    anchors = positives.any(dim=1)
    if not anchors.any():
        return similarity.sum() * 0.0
    similarity, positives = similarity[anchors], positives[anchors]
    good = similarity.masked_fill(~positives, -torch.inf).logsumexp(dim=1)
    return (similarity.logsumexp(dim=1) - good).mean()


def _equal(ids: Tensor) -> Tensor:
    return ids[:, None] == ids[None, :]


def _without_unknown(targets: Tensor, known: Tensor | None) -> Tensor:
    # Tables store what is unknown as NaN, which a factor of 0 would not take out of the gradient again.
    return targets.float() if known is None else targets.float().masked_fill(~known, 0.0)


def _mean_of_known(each: Tensor, known: Tensor | None) -> Tensor:
    known = torch.ones_like(each, dtype=torch.bool) if known is None else known
    counts = known.sum(dim=1)
    means = (each * known).sum(dim=1) / counts.clamp(min=1)
    return means.sum() / (counts > 0).sum().clamp(min=1)


def _check_same_shape(what: str, found: Tensor, target: Tensor) -> None:
    # Broadcasting would otherwise compare everything with everything, and train on nonsense.
    if found.shape != target.shape:
        raise InputError(
            f"{what}: the model gives {list(found.shape)} and the targets are {list(target.shape)} "
            "(samples first); make the head as wide as the data"
        )
