"""DAN: the reasoning fusion and the matching head in plain loops."""

import pytest
import torch

from cellseg.errors import InputError
from cellseg.multimodal.baselines import MatchingDualAttention, ReasoningDualAttention
from cellseg.multimodal.values import Fused

CHANNELS = {"image": 6, "text": 7}


def look(step, tokens, memory):
    """What one step sees of the real tokens of one modality, and where."""
    guide = torch.tanh(step.from_memory.weight @ memory)
    scores = [step.score.weight[0] @ (torch.tanh(step.from_tokens.weight @ token) * guide) for token in tokens]
    weights = torch.stack(scores).softmax(0)
    seen = sum(weight * token for weight, token in zip(weights, tokens, strict=True))
    return (seen if step.project is None else torch.tanh(step.project.weight @ seen)), weights


def first_look(modality, tokens):
    mean = sum(tokens) / len(tokens)
    return mean if modality.first is None else torch.tanh(modality.first.weight @ mean)


@torch.no_grad()
def test_reasoning_does_what_its_formulas_say(pair, everywhere, settled):
    fusion, tokens = settled(ReasoningDualAttention(CHANNELS, width=8, steps=3)), pair()
    fused = fusion(tokens, everywhere(tokens))
    for row, length in enumerate((4, 1, 3)):
        places = [fusion.project["image"](token) for token in tokens["image"].values[row]]
        words = [fusion.project["text"](token) for token in tokens["text"].values[row, :length]]
        memory = first_look(fusion.attend["image"], places) * first_look(fusion.attend["text"], words)
        for step in range(3):
            seen, looked = look(fusion.attend["image"].steps[step], places, memory)
            read, heard = look(fusion.attend["text"].steps[step], words, memory)
            memory = memory + seen * read
            torch.testing.assert_close(fused.attention["memory<-image/0"][row, 0, step], looked)
            torch.testing.assert_close(fused.attention["memory<-text/0"][row, 0, step, :length], heard)
        torch.testing.assert_close(fused.pooled[row], memory, atol=1e-5, rtol=1e-4)


def test_only_what_is_seen_of_an_image_has_a_layer_of_its_own():
    fusion = ReasoningDualAttention(CHANNELS, width=8)
    assert fusion.attend["image"].first is not None and fusion.attend["text"].first is None
    assert len(fusion.attend["image"].steps) == 2  # the paper's K


def test_reasoning_holds_the_contract_of_fusions(check_fusion, settled):
    check_fusion(settled(ReasoningDualAttention(CHANNELS, width=8)))


def matcher(**options):
    return MatchingDualAttention(9, {}, CHANNELS, width=8, **options)


@torch.no_grad()
def test_matching_does_what_its_formulas_say(pair, settled):
    head, tokens = settled(matcher(steps=3)), pair()
    fused = Fused(torch.zeros(3, 9), {}, tokens)
    found = head.embeddings(fused)
    similarities = []
    for row, length in enumerate((4, 1, 3)):
        rows = {}
        for name, count in (("image", 5), ("text", length)):
            own = head.embed[name]
            values = [own.enter(token) for token in tokens[name].values[row, :count]]
            memory = first_look(own.attend, values)
            rows[name] = [memory]
            for step in own.attend.steps:
                rows[name].append(look(step, values, memory)[0])
                memory = memory + rows[name][-1]
        similarity = sum(seen @ read for seen, read in zip(rows["image"], rows["text"], strict=True))
        lengths = [torch.cat(parts).norm() for parts in rows.values()]
        similarities.append(similarity / lengths[0] / lengths[1])
        for name, parts in rows.items():
            torch.testing.assert_close(found[name][row], torch.nn.functional.normalize(torch.cat(parts), dim=0))
    torch.testing.assert_close((found["image"] * found["text"]).sum(dim=1), torch.stack(similarities))


def test_an_embedding_depends_on_its_own_modality_alone(pair, settled):
    head = settled(matcher())
    one, other = pair(seed=0), pair(seed=1)
    before = head.embeddings(Fused(torch.zeros(3, 9), {}, one))
    after = head.embeddings(Fused(torch.ones(3, 9), {}, {**other, "image": one["image"]}))
    torch.testing.assert_close(before["image"], after["image"])
    assert (before["text"] - after["text"]).abs().max() > 0.01


def test_padding_and_absent_modalities_do_not_touch_embeddings(pair, settled):
    head, tokens = settled(matcher()), pair()
    expected = head.embeddings(Fused(torch.zeros(3, 9), {}, tokens))["text"]
    tokens["text"].values[~tokens["text"].mask] = torch.nan
    torch.testing.assert_close(head.embeddings(Fused(torch.zeros(3, 9), {}, tokens))["text"], expected)
    tokens["text"].mask[1] = False
    found = head.embeddings(Fused(torch.zeros(3, 9), {}, tokens))["text"]
    assert found[1].eq(0).all()
    torch.testing.assert_close(found[[0, 2]], expected[[0, 2]])


def test_matching_learns_which_belong_together(pair):
    torch.manual_seed(0)
    head, tokens = matcher(), pair(lengths=(4, 2, 3, 4, 1, 4))
    fused = Fused(torch.zeros(6, 9), {}, tokens)
    target = dict(values=torch.ones(6), present=torch.ones(6, dtype=torch.bool))
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        sum(head.loss(fused, target).values()).backward()
        optimizer.step()
    embeddings = head.eval().embeddings(fused)
    similarity = embeddings["image"] @ embeddings["text"].t()
    assert similarity.argmax(dim=1).tolist() == similarity.argmax(dim=0).tolist() == list(range(6))
    right = [each["probability"] for each in head.predict(fused)]
    parts = [part.roll(1, 0) for part in vars(tokens["text"]).values() if part is not None]
    wrong = {**tokens, "text": type(tokens["text"])(*parts)}
    others = [each["probability"] for each in head.predict(Fused(torch.zeros(6, 9), {}, wrong))]
    assert min(right) > max(others)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ReasoningDualAttention(CHANNELS, 8, steps=0),
            "steps: expected a whole number of at least 1, found 0",
        ),
        (
            lambda: ReasoningDualAttention({"image": 3}, 8),
            "ReasoningDualAttention: pairs the modalities 'image' and 'text' (options image and text), the model has "
            "'image'",
        ),
        (lambda: matcher(steps=-1), "steps: expected a whole number of at least 1, found -1"),
        (
            lambda: matcher(text="sound"),
            "modalities: 'sound' has no encoder; the model encodes image, text",
        ),
    ],
)
def test_options_that_cannot_be_used(make, message):
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value) == message
