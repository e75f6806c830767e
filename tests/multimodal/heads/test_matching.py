"""Matching: probabilities, embeddings of one modality alone, the losses of pairs, search after training."""

import math

import pytest
import torch

from cellseg.errors import InputError
from cellseg.multimodal.heads import PairContrastive, PairHinge, PairInfoNCE, PairMatcher
from cellseg.multimodal.losses import contrastive_loss, hinge_loss, info_nce, positive_pairs
from cellseg.multimodal.values import Fused, Tokens, full_mask

CHANNELS = {"image": 5, "text": 7}
ALL = torch.ones(4, dtype=torch.bool)


def head(seed=0, **options):
    torch.manual_seed(seed)
    return PairMatcher(6, {}, CHANNELS, **options).eval()


def test_probability_from_the_fused_representation(make_fused):
    fused, match = make_fused(), head()
    paired = torch.tensor([1.0, 0.0, 1.0, 1.0])
    target = {"values": paired, "present": torch.tensor([True, True, True, False])}
    chances = match(fused).sigmoid()
    losses = match.loss(fused, target)
    expected = -(chances[0] * (1 - chances[1]) * chances[2]).log() / 3
    assert losses.keys() == {"loss_probability"}
    torch.testing.assert_close(losses["loss_probability"], expected)
    predictions = match.predict(fused)
    assert [prediction["probability"] for prediction in predictions] == pytest.approx(chances.tolist())
    assert all(prediction["embeddings"] == {} for prediction in predictions)


def test_embeddings_see_their_own_modality_only(make_fused):
    match = head(embedding=3)
    fused = make_fused()
    other = Fused(fused.pooled * 2, {}, {**fused.encoded, "text": make_fused(seed=5).encoded["text"]})
    before, after = match.embeddings(fused), match.embeddings(other)
    torch.testing.assert_close(before["image"], after["image"])
    assert not torch.allclose(before["text"], after["text"])
    torch.testing.assert_close(before["text"].norm(dim=1), torch.ones(4))
    rows = match.predict(fused)
    assert rows[1]["embeddings"]["image"] == pytest.approx(before["image"][1].tolist())


def test_samples_without_a_modality_have_no_embedding_of_it(make_fused):
    match, fused = head(embedding=3), make_fused(absent={"text": [2]})
    rows = match.predict(fused)
    assert rows[2]["embeddings"].keys() == {"image"} and rows[1]["embeddings"].keys() == {"image", "text"}
    assert (match.embeddings(fused)["text"][2] == 0).all() and (match.embeddings(fused)["image"][2] != 0).all()
    # The others' losses are those of a batch without it.
    paired = torch.tensor([1.0, 1.0, 1.0, 1.0])
    whole = match.loss(fused, {"values": paired, "present": ALL})
    rest = match.loss(fused, {"values": paired, "present": torch.tensor([True, True, False, True])})
    torch.testing.assert_close(whole["loss_embedding"], rest["loss_embedding"])
    assert match.loss(fused, {"values": paired, "present": ~ALL}) == {}


def balanced(distances, positives):
    near = distances[positives].square().mean()
    return (near + (1 - distances[~positives]).clamp(min=0).square().mean()) / 2


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"type": "PairInfoNCE", "temperature": 0.2},
            lambda first, second, paired, positives: info_nce(first @ second.t() / 0.2, positives),
        ),
        (
            {"type": "PairHinge", "margin": 0.4, "negatives": "all"},
            lambda first, second, paired, positives: hinge_loss(first @ second.t(), positives, 0.4, "all"),
        ),
        (
            {"type": "PairHinge"},
            lambda first, second, paired, positives: hinge_loss(first @ second.t(), positives, 0.2, "hardest"),
        ),
        (
            {"type": "PairContrastive", "margin": 0.8, "power": 1},
            lambda first, second, paired, positives: contrastive_loss((first - second).norm(dim=1), paired, 0.8, 1),
        ),
        (
            {"type": "PairContrastive", "pairs": "batch"},
            lambda first, second, paired, positives: balanced((first[:, None] - second[None]).norm(dim=2), positives),
        ),
    ],
)
@pytest.mark.parametrize("ids", [None, [4, 5, 4, 6], [[0, 4], [1, 5], [1, 4], [3, 6]]])
def test_embeddings_learn_by_the_loss_of_the_config(make_fused, config, expected, ids):
    fused, match = make_fused(), head(embedding=3, embedding_loss=config)
    paired = torch.tensor([1.0, 1.0, 1.0, 0.0])
    target = {"values": paired, "present": ALL}
    columns = (None, None)
    if ids is not None:
        target["ids"] = torch.tensor(ids)
        columns = (None, target["ids"]) if target["ids"].ndim == 1 else target["ids"].unbind(1)
    vectors = match.embeddings(fused)
    wanted = expected(vectors["image"], vectors["text"], paired, positive_pairs(paired, *columns))
    losses = match.loss(fused, target)
    torch.testing.assert_close(losses["loss_embedding"], wanted)
    assert losses.keys() == {"loss_embedding", "loss_probability"}


def test_gradients_are_finite_where_embeddings_coincide():
    same = torch.nn.functional.normalize(torch.ones(3, 4), dim=1)
    for loss in (PairContrastive(power=1), PairContrastive(pairs="batch"), PairHinge(), PairInfoNCE()):
        first = same.clone().requires_grad_()
        loss(first, same, torch.ones(3), torch.eye(3, dtype=torch.bool)).backward()
        assert first.grad.isfinite().all()


def test_temperature_is_learned_or_not():
    first = torch.eye(3, requires_grad=True)
    for learned in (True, False):
        loss = PairInfoNCE(temperature=0.5, learned=learned)
        assert loss.log_factor.exp().item() == pytest.approx(2)
        loss(first, first.detach(), torch.ones(3), torch.eye(3, dtype=torch.bool)).backward()
        assert (loss.log_factor.grad is not None) is learned
    hot = PairInfoNCE(temperature=0.5)
    with torch.no_grad():
        hot.log_factor.fill_(math.log(1e6))
    bounded = hot(first, first.flip(0), torch.ones(3), torch.eye(3, dtype=torch.bool))
    torch.testing.assert_close(bounded, info_nce(first @ first.flip(0).t() * 100, torch.eye(3, dtype=torch.bool)))


def pictures_and_captions(count, seed, wrong=0):
    """Two views of one hidden vector, linearly mixed: image ``[count, 5]``, text ``[count, 7]``.

    The first ``wrong`` captions are those of other pictures.
    """
    mixing = torch.Generator().manual_seed(99)
    to_image, to_text = torch.randn(4, 5, generator=mixing), torch.randn(4, 7, generator=mixing)
    hidden = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    tokens = {}
    told = torch.cat([hidden[:wrong].roll(1, 0), hidden[wrong:]])
    for name, values in (("image", hidden @ to_image), ("text", told @ to_text)):
        tokens[name] = Tokens(values[:, None], full_mask(values[:, None]), values)
    return Fused(torch.zeros(count, 6), tokens, tokens)


@pytest.mark.parametrize(
    "config",
    [
        {"type": "PairInfoNCE"},
        {"type": "PairHinge", "negatives": "all"},
        {"type": "PairContrastive", "pairs": "batch", "power": 2},
        {"type": "PairContrastive", "pairs": "batch", "power": 1},
        {"type": "PairContrastive", "pairs": "samples", "power": 1},
        {"type": "PairContrastive", "pairs": "samples", "power": 2},
    ],
)
def test_trained_embeddings_find_their_partner(config):
    match = head(embedding=4, embedding_loss=config, from_fused=False).train()
    optimizer = torch.optim.Adam(match.parameters(), lr=2e-2)
    wrong = 16 if config.get("pairs") == "samples" else 0
    target = {"values": (torch.arange(32) >= wrong).float(), "present": torch.ones(32, dtype=torch.bool)}
    for step in range(200):
        losses = match.loss(pictures_and_captions(32, step, wrong), target)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    fused = pictures_and_captions(20, 1000)
    with torch.no_grad():
        vectors = match.eval().embeddings(fused)
        found = (vectors["image"] @ vectors["text"].t()).argmax(1)
        assert (found == torch.arange(20)).float().mean() >= 0.9
        # The probability tells true pairs from wrong ones.
        right = torch.tensor([row["probability"] for row in match.predict(fused)])
        wrong_pairs = Fused(fused.pooled, {}, {**fused.encoded, "text": roll(fused.encoded["text"])})
        wrong = torch.tensor([row["probability"] for row in match.predict(wrong_pairs)])
    assert (right > 0.5).float().mean() >= 0.8 and (wrong < 0.5).float().mean() >= 0.8


def roll(tokens):
    return Tokens(tokens.values.roll(1, 0), tokens.mask, tokens.pooled.roll(1, 0))


def test_calibration_leaves_the_embeddings_alone(make_fused):
    match, fused = head(embedding=3, from_fused=False), make_fused()
    losses = match.loss(fused, {"values": torch.ones(4), "present": ALL})
    losses["loss_probability"].backward()
    assert match.calibrate.weight.grad is not None
    assert all(parameter.grad is None for parameter in match.embed.parameters())
    vectors = match.embeddings(fused)
    similarity = vectors["image"] @ vectors["text"].t()
    each = torch.nn.functional.softplus(10 * similarity - 5) - (10 * similarity - 5) * torch.eye(4)
    expected = (each.diagonal().mean() + each[~torch.eye(4, dtype=torch.bool)].mean()) / 2
    torch.testing.assert_close(losses["loss_probability"], expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": ["image"]}, "modalities: expected two different ones to match, found ['image']"),
        (
            {"modalities": ["image", "image"]},
            "modalities: expected two different ones to match, found ['image', 'image']",
        ),
        ({"modalities": ["image", "sound"]}, "modalities: 'sound' has no encoder; the model encodes image, text"),
        (
            {"from_fused": False},
            "embedding: without from_fused there is nothing to match by; give a width, such as 64",
        ),
        (
            {"embedding_loss": {"type": "PairHinge"}},
            "embedding_loss: there are no embeddings to train; give embedding a width, such as 64",
        ),
        ({"embedding": -1}, "embedding: expected a whole number of at least 0, found -1"),
    ],
)
def test_mistakes_are_refused(options, message):
    with pytest.raises(InputError) as caught:
        head(**options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PairContrastive(margin=0), "margin: expected a number above 0, found 0"),
        (lambda: PairContrastive(power=3), "power: expected 1 or 2, found 3"),
        (lambda: PairContrastive(pairs="all"), "pairs: expected samples or batch, found 'all'"),
        (lambda: PairInfoNCE(temperature=-1), "temperature: expected a number above 0, found -1"),
        (lambda: PairHinge(negatives="few"), "negatives: expected hardest or all, found 'few'"),
        (lambda: PairHinge(margin=float("inf")), "margin: expected a number above 0, found inf"),
    ],
)
def test_mistakes_in_pair_losses_are_refused(make, message):
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value) == message
