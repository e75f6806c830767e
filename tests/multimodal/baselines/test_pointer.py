"""M4C: the prefix mask, inputs and scores in plain loops; losses; copies."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import pad

from cellseg.errors import InputError
from cellseg.multimodal.baselines import PointerCaptioner
from cellseg.multimodal.baselines.pointer import point_at, without_pointers
from cellseg.multimodal.encoders.positions import sinusoidal_positions
from cellseg.multimodal.values import Fused

SIZE = 8
CHANNELS = {"image": 6, "text": 7}
NEVER = (0, 2)


def build(**options):
    options = dict(vocabulary_size=SIZE, width=8, layers=2, heads=2, dropout=0.0, copy="text") | options
    return PointerCaptioner(9, CHANNELS, **options)


def captions():
    """Two captions that point at candidates 0 and 3, and at 0; V is 8."""
    words = torch.tensor([[2, 5, 8, 11, 3], [2, 8, 3, 0, 0], [2, 6, 6, 3, 0]])
    return dict(values=words, mask=words > 0, present=torch.tensor([True, True, True]))


def fused_of(tokens):
    return Fused(torch.zeros(3, 9), tokens, {})


def heads_by_hand(layer, inner, visible):
    """Multi-head self-attention for single tokens under a mask of lists."""
    attention = layer.own_attention
    size = inner.shape[1] // attention.heads
    keys, values = attention.key_value(inner).chunk(2, dim=1)
    queries = attention.query(inner)
    rows = []
    for place, seen in enumerate(visible):
        parts = []
        for head in range(attention.heads):
            own = slice(head * size, (head + 1) * size)
            weights = (keys[seen][:, own] @ queries[place, own] / math.sqrt(size)).softmax(0)
            parts.append(weights @ values[seen][:, own])
        rows.append(torch.cat(parts))
    return attention.out(torch.stack(rows))


@torch.no_grad()
def test_it_does_what_its_formulas_say(pair, settled):
    """Inputs and written words in one sequence; who may see whom is written out."""
    head, tokens, target = settled(build()), pair(), captions()
    scores = head.teach(head.remember(fused_of(tokens)), target["values"])
    for row, length in enumerate((4, 1, 3)):
        image = head.enter["image"](tokens["image"].values[row])
        text = head.enter["text"](tokens["text"].values[row, :length])
        written = []
        for place, word in enumerate(target["values"][row].tolist()):
            copied = word >= SIZE
            vector = head.candidate_norm(text[word - SIZE]) if copied else head.word_norm(head.vocabulary.weight[word])
            position = sinusoidal_positions(place + 1, 8)[place]
            written.append(vector + head.place_norm(position + head.kind[int(copied)]))
        inputs = len(image) + len(text)
        sequence = torch.cat([image, text, torch.stack(written)])
        visible = [list(range(inputs))] * inputs
        visible += [list(range(inputs + place + 1)) for place in range(len(written))]
        for layer in head.layers:
            sequence = sequence + heads_by_hand(layer, layer.own_norm(sequence), visible)
            sequence = sequence + layer.feedforward(sequence)
        outputs = head.norm(sequence)
        for place in range(len(written)):
            last = outputs[inputs + place]
            words = head.vocabulary.weight @ last + head.vocabulary.bias
            asked = head.point_to(last)
            copies = [head.point_from(outputs[len(image) + n]) @ asked / math.sqrt(8) for n in range(length)]
            expected = torch.cat([words, torch.stack(copies)])
            torch.testing.assert_close(scores[row, place, : SIZE + length], expected, atol=1e-4, rtol=1e-4)
            assert torch.isneginf(scores[row, place, SIZE + length :]).all()


@torch.no_grad()
def test_inputs_do_not_see_what_is_written(pair, settled):
    """The inputs' keys and values are those without any written word, and all of them see each other."""
    head, tokens = settled(build()), pair()
    memory = head.remember(fused_of(tokens))
    changed = {**tokens, "image": replace(tokens["image"], values=tokens["image"].values + 1)}
    other = head.remember(fused_of(changed))
    last = [-2, -1]  # keys and values of the last layer
    for part in last:
        assert (memory[part][:, :, 5] - other[part][:, :, 5]).abs().amax(dim=(1, 2)).min() > 1e-3


def right_of(target, row, place, copies=None):
    right = {target["values"][row, place + 1].item()}
    if copies is not None:
        right |= {SIZE + n for n, copied in enumerate(copies[row, place + 1].tolist()) if copied}
    return right


@pytest.mark.parametrize("with_copies", [False, True])
@pytest.mark.parametrize("objective", ["binary", "softmax"])
@torch.no_grad()
def test_losses_are_those_of_plain_loops(pair, settled, objective, with_copies):
    head, tokens, target = settled(build(objective=objective)), pair(), captions()
    lengths, copies = (4, 1, 3), None
    if with_copies:
        copies = target["copies"] = torch.zeros(3, 5, 4, dtype=torch.bool)
        copies[0, 1, 2] = copies[2, 2, :2] = copies[2, 0, 0] = True  # the last one: of begin, which nobody predicts
    scores = head.teach(head.remember(fused_of(tokens)), target["values"])
    losses = []
    for row, count in enumerate((4, 2, 3)):
        for place in range(count):
            right = right_of(target, row, place, copies)
            possible = [word for word in range(SIZE + lengths[row]) if word not in NEVER]
            each = {word: scores[row, place, word] for word in possible}
            if objective == "binary":
                terms = [-(each[word] if word in right else -each[word]).sigmoid().log() for word in possible]
                losses.append(sum(terms))
            else:
                total = sum(score.exp() for score in each.values())
                losses.append(-(sum(each[word].exp() for word in right) / total).log())
    torch.testing.assert_close(head.loss(fused_of(tokens), target)["loss"], sum(losses) / 9, atol=1e-4, rtol=1e-4)


def test_without_candidates_it_writes_words_only(pair, settled):
    head, tokens, target = settled(build(copy=None)), pair(), captions()
    target["values"] = target["values"].clamp(max=SIZE - 1)
    assert head.log_probabilities(fused_of(tokens), target["values"]).shape == (3, 5, SIZE)
    assert head.loss(fused_of(tokens), target)["loss"] > 0
    assert all(word < SIZE for each in head.predict(fused_of(tokens)) for word in each["tokens"])


def test_a_copied_word_is_read_from_the_candidates(pair):
    """Which of the candidates is marked says what to write: a vocabulary cannot know it, a pointer can."""
    torch.manual_seed(0)
    head = build(layers=1, objective="softmax", beam=1, max_length=3)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)

    def batch(count):
        tokens = pair(lengths=(4,) * count, seed=torch.randint(10**6, (1,), generator=generator).item())
        chosen = torch.randint(4, (count,), generator=generator)
        tokens["text"].values[:, :, 0] = 0
        tokens["text"].values[torch.arange(count), chosen, 0] = 3.0
        words = torch.tensor([2, 0, 3]).repeat(count, 1)
        words[:, 1] = SIZE + chosen
        present = torch.ones(count, dtype=torch.bool)
        target = dict(values=words, mask=torch.ones(count, 3, dtype=torch.bool), present=present)
        return Fused(torch.zeros(count, 9), tokens, {}), target

    for _ in range(120):
        fused, target = batch(16)
        optimizer.zero_grad()
        head.train().loss(fused, target)["loss"].backward()
        optimizer.step()
    fused, target = batch(40)
    found = [each["tokens"] for each in head.eval().predict(fused)]
    wanted = target["values"][:, 1:2].tolist()
    assert sum(one == other for one, other in zip(found, wanted, strict=True)) >= 38


def test_candidates_and_words():
    words = torch.tensor([[2, 7, 5, 7, 3]])
    candidates = torch.tensor([[7, 5, 7, 2]])
    mask = torch.tensor([[True, True, True, False]])
    copies = point_at(words, candidates, mask)
    assert copies.int().tolist() == [[[0, 0, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]]
    assert without_pointers([5, SIZE, 6, SIZE + 2], candidates[0].tolist(), SIZE) == [5, 7, 6, 7]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(objective="hinge"), "objective: expected binary or softmax, found 'hinge'"),
        (dict(modalities=["sound"]), "PointerCaptioner: no modality 'sound'; there are image, text"),
        (dict(modalities=["image"]), "PointerCaptioner: copy: no modality 'text'; there are image"),
    ],
)
def test_options_that_cannot_be_used(options, message):
    with pytest.raises(InputError) as error:
        build(**options)
    assert str(error.value) == message


def with_words(tokens, target):
    """The same tokens, which now stand for words of the captions, or for padding, begin and end."""
    ids = torch.tensor([[2, 5, 6, 3], [7, 0, 0, 0], [6, 5, 6, 0]])
    text = replace(tokens["text"], ids=ids)
    words = torch.tensor([[2, 5, 4, 6, 3], [2, 7, 3, 0, 0], [2, 6, 6, 3, 0]])
    return Fused(torch.zeros(3, 9), tokens, {"text": text}), dict(target, values=words), ids


@pytest.mark.parametrize("objective", ["binary", "softmax"])
def test_candidates_that_are_words_are_right_where_the_caption_has_them(pair, settled, objective):
    head = settled(build(objective=objective))
    fused, target, ids = with_words(pair(), captions())
    mask = fused.tokens["text"].mask & (ids > 3)
    given = dict(target, copies=point_at(target["values"], ids, mask))
    assert given["copies"].any()
    assert torch.equal(head.loss(fused, target)["loss"], head.loss(fused, given)["loss"])
    without = head.loss(fused_of(fused.tokens), target)["loss"]
    assert not torch.allclose(head.loss(fused, target)["loss"], without)


@torch.no_grad()
@pytest.mark.parametrize("beam", [1, 2])
def test_a_caption_has_the_words_that_it_points_at(pair, settled, beam):
    """Pointing is made likely; what is written has words only, and goes on as if these had been written."""
    head = settled(build(beam=beam, max_length=4))
    head.vocabulary.bias.fill_(-50.0)
    fused, _, ids = with_words(pair(), captions())
    pointers = head.write(fused_of(fused.tokens))
    sentences = head.write(fused)
    assert any(token >= SIZE for sentence in pointers for token in sentence.tokens)
    assert all(token < SIZE for sentence in sentences for token in sentence.tokens)
    for row, sentence in enumerate(sentences):
        assert sentence.tokens[0] in ids[row].tolist()
    assert head(fused).max() < SIZE
    # The same scores after a pointer as after the word.
    memory = head.remember(fused)
    place = torch.tensor([1, 0, 0])
    pointed = head.teach(memory, torch.stack([torch.full((3,), 2), SIZE + place], 1))
    written = head.teach(memory, torch.stack([torch.full((3,), 2), ids[torch.arange(3), place]], 1))
    assert torch.equal(pointed, written)


@torch.no_grad()
def test_begin_and_end_of_a_text_are_no_candidates(pair, settled):
    head = settled(build())
    fused, target, _ = with_words(pair(), captions())
    ids = torch.tensor([[2, 5, 6, 3], [2, 0, 0, 0], [2, 5, 3, 0]])
    fused.encoded["text"] = replace(fused.encoded["text"], ids=ids)
    scores = head.teach(head.remember(fused), target["values"])[:, :, SIZE:]
    real = fused.tokens["text"].mask & (ids > 3)
    assert torch.equal(scores.isfinite(), real.unsqueeze(1).expand_as(scores)) and real.sum() == 3


@torch.no_grad()
def test_a_text_that_was_generated_may_have_more_tokens_than_words(pair, settled):
    head = settled(build())
    fused, target, ids = with_words(pair(), captions())
    text = fused.tokens["text"]
    more = replace(text, values=pad(text.values, (0, 0, 0, 3)), mask=pad(text.mask, (0, 3), value=True), ids=None)
    longer = replace(fused, tokens={**fused.tokens, "text": more})
    assert head.loss(longer, target)["loss"].isfinite()
    scores = head.teach(head.remember(longer), target["values"])[:, :, SIZE:]
    assert scores.shape[2] == ids.shape[1] + 3 and scores[:, :, -3:].isneginf().all()
    assert all(token < SIZE for sentence in head.write(longer) for token in sentence.tokens)
