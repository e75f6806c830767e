"""What holds for every captioning head, and the transformer decoder against plain loops."""

import math
from dataclasses import replace

import pytest
import torch

from cellseg.errors import InputError
from cellseg.multimodal.baselines import LSTMAttentionCaptioner, PointerCaptioner
from cellseg.multimodal.encoders.positions import sinusoidal_positions
from cellseg.multimodal.heads.captioning import CaptionTransformer, caption_loss
from cellseg.multimodal.values import Fused, Tokens, masked_mean

PAD, BEGIN, END, SIZE = 0, 2, 3, 9
CHANNELS, TOKENS = 6, {"image": 5, "text": 7}
WRITING = dict(vocabulary_size=SIZE, max_length=6)
SMALL = dict(width=8, layers=2, heads=2, dropout=0.0)

HEADS = {
    "transformer": lambda **options: CaptionTransformer(CHANNELS, TOKENS, **{**SMALL, **WRITING, **options}),
    "lstm": lambda **options: LSTMAttentionCaptioner(
        CHANNELS, TOKENS, embedding=6, width=8, dropout=0.0, **{**WRITING, **options}
    ),
    "pointer": lambda **options: PointerCaptioner(CHANNELS, TOKENS, copy="text", **{**SMALL, **WRITING, **options}),
}
every_head = pytest.mark.parametrize("build", HEADS.values(), ids=HEADS)


def seeded(build, seed=0, **options):
    torch.manual_seed(seed)
    head = build(**options).eval()
    with torch.no_grad():
        # Away from the first weights, which make all sentences alike.
        for parameter in head.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return head


def fused_of(count=3, lengths=(4, 1, 3), seed=1):
    """Images of 6 tokens and texts of the given lengths, padded with what must not be looked at."""
    generator = torch.Generator().manual_seed(seed)
    tokens = {}
    for name, length in dict(image=6, text=max(lengths)).items():
        values = torch.randn(count, length, TOKENS[name], generator=generator)
        mask = (
            torch.arange(length)
            < torch.tensor([lengths[row] if name == "text" else 6 for row in range(count)])[:, None]
        )
        tokens[name] = Tokens(values, mask, masked_mean(values, mask))
    return Fused(torch.randn(count, CHANNELS, generator=generator), tokens, {})


def row_of(fused, row, length=None):
    """One sample, its text without padding."""

    def part(name, tokens):
        kept = slice(None) if name == "image" or length is None else slice(length)
        return Tokens(
            tokens.values[row : row + 1, kept], tokens.mask[row : row + 1, kept], tokens.pooled[row : row + 1]
        )

    return Fused(fused.pooled[row : row + 1], {name: part(name, tokens) for name, tokens in fused.tokens.items()}, {})


def caption_batch(seed=2):
    """Captions of 4, 2 and 3 words between begin and end; the padding holds words."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(4, SIZE, (3, 6), generator=generator)
    values[:, 0] = BEGIN
    mask = torch.zeros(3, 6, dtype=torch.bool)
    for row, length in enumerate((4, 2, 3)):
        values[row, length + 1] = END
        mask[row, : length + 2] = True
    return dict(values=values, mask=mask, present=torch.ones(3, dtype=torch.bool))


@every_head
def test_a_word_is_predicted_from_the_words_before_it(build):
    head, fused = seeded(build), fused_of()
    words = caption_batch()["values"]
    likely = head.log_probabilities(fused, words)
    for position in range(1, words.shape[1]):
        other = words.clone()
        other[:, position] = 4 + (other[:, position] - 3) % (SIZE - 4)
        changed = head.log_probabilities(fused, other)
        torch.testing.assert_close(changed[:, :position], likely[:, :position], rtol=0, atol=0)
        assert (changed[:, position] - likely[:, position]).nan_to_num().abs().amax(dim=1).min() > 1e-4


@every_head
def test_writing_word_by_word_is_reading_at_once(build):
    head, fused = seeded(build), fused_of()
    words = caption_batch()["values"]
    with torch.no_grad():
        memory = head.remember(fused)
        at_once, state = head.teach(memory, words), head.start(memory)
        for position in range(words.shape[1]):
            scores, state = head.step(memory, words[:, position], state)
            torch.testing.assert_close(scores, at_once[:, position], atol=2e-5, rtol=1e-5)


@every_head
def test_what_is_masked_changes_nothing(build):
    head, fused = seeded(build), fused_of()
    words = caption_batch()["values"]
    dirty = {
        name: replace(tokens, values=tokens.values.masked_fill(~tokens.mask.unsqueeze(2), torch.nan))
        for name, tokens in fused.tokens.items()
    }
    likely = head.log_probabilities(fused, words)
    torch.testing.assert_close(head.log_probabilities(replace(fused, tokens=dirty), words), likely)
    for row, length in enumerate((4, 1, 3)):
        alone = head.log_probabilities(row_of(fused, row, length), words[row : row + 1])[0]
        count = SIZE + (length if alone.shape[-1] > SIZE else 0)
        torch.testing.assert_close(alone, likely[row, :, :count], atol=1e-5, rtol=1e-5)


@every_head
def test_an_absent_modality_changes_nothing(build):
    head, fused = seeded(build), fused_of()
    words = caption_batch()["values"]
    for name in TOKENS:
        gone = [
            replace(tokens, values=tokens.values + shift, mask=torch.zeros_like(tokens.mask))
            if name == other
            else tokens
            for shift in (0.0, 5.0)
            for other, tokens in fused.tokens.items()
        ]
        one, other = (
            head.log_probabilities(replace(fused, tokens=dict(zip(TOKENS, part, strict=True))), words)
            for part in (gone[:2], gone[2:])
        )
        assert not one.isnan().any()
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@every_head
@pytest.mark.parametrize("beam", [1, 3])
def test_pad_and_begin_are_never_written(build, beam):
    head, fused = seeded(build, beam=beam), fused_of()
    last = head.vocabulary if isinstance(head, PointerCaptioner) else head.out
    with torch.no_grad():
        last.bias[[PAD, BEGIN]] = 100.0
        last.bias[END] = -100.0
    sentences = head.predict(fused)
    assert all(len(each["tokens"]) == 6 for each in sentences)  # the longest that may be
    assert not {PAD, BEGIN, END} & {word for each in sentences for word in each["tokens"]}
    assert head.log_probabilities(fused, caption_batch()["values"])[..., [PAD, BEGIN]].exp().eq(0).all()


@every_head
@pytest.mark.parametrize("beam", [1, 3])
def test_predictions_of_a_batch_are_those_of_its_rows(build, beam):
    """Prompts of different lengths, and captions that end at different words."""
    head, fused = seeded(build, beam=beam, seed=3), fused_of()
    together = head.predict(fused)
    for row, length in enumerate((4, 1, 3)):
        (alone,) = head.predict(row_of(fused, row, length))
        assert alone["tokens"] == together[row]["tokens"]
        assert alone["score"] == pytest.approx(together[row]["score"], abs=1e-5)
    assert [type(word) for word in together[0]["tokens"]] == [int] * len(together[0]["tokens"])
    words = head(fused)
    assert words.shape == (3, 6) and words.dtype == torch.int64
    for row, each in zip(words.tolist(), together, strict=True):
        assert row == each["tokens"] + [PAD] * (6 - len(each["tokens"]))


@every_head
def test_the_score_is_that_of_the_words(build):
    head, fused = seeded(build, length_power=0.5), fused_of()
    for row, each in enumerate(head.predict(fused)):
        cut = len(each["tokens"]) == head.max_length
        written = each["tokens"] if cut else [*each["tokens"], END]
        words = torch.tensor([[BEGIN, *written[:-1]]])
        likely = head.log_probabilities(row_of(fused, row), words)[0]
        total = sum(likely[place, word].item() for place, word in enumerate(written))
        assert each["score"] == pytest.approx(total / math.sqrt(len(written)), abs=1e-4)


@every_head
def test_only_captions_that_are_there_are_learned(build):
    head, fused, target = seeded(build), fused_of(), caption_batch()
    target["present"] = torch.tensor([True, False, True])
    losses = head.loss(fused, target)
    other = {**target, "values": target["values"].clone()}
    other["values"][1] = 5
    other["values"][:, 1:] = torch.where(target["mask"][:, 1:], other["values"][:, 1:], 6)
    for name, value in head.loss(fused, other).items():
        torch.testing.assert_close(value, losses[name])
    other["values"][0, 2] = 4 + (other["values"][0, 2] - 3) % (SIZE - 4)
    assert abs(head.loss(fused, other)["loss"] - losses["loss"]) > 1e-4
    assert head.loss(fused, {**target, "present": torch.zeros(3, dtype=torch.bool)}) == {}


@every_head
def test_gradients_are_finite_and_reach_every_weight(build):
    head = seeded(build)
    fused, target = fused_of(lengths=(4, 0, 3)), caption_batch()
    fused.tokens["image"].mask[2] = False
    if isinstance(head, PointerCaptioner):
        target["values"][0, 2] = SIZE + 1  # points at the second candidate
    sum(head.train().loss(fused, target).values()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        # The bias of attention keys shifts all scores of a softmax alike.
        assert parameter.grad.abs().sum() > 0 or "key_value" in name, name


@every_head
def test_captions_are_learned_from_the_tokens(build):
    """Which of three captions belongs to an image stands in one of its tokens."""
    torch.manual_seed(0)
    head = build(max_length=6, beam=2, **({} if build is HEADS["lstm"] else {"layers": 1}))
    fused, target = fused_of(), caption_batch()
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    for _ in range(200):
        optimizer.zero_grad()
        sum(head.train().loss(fused, target).values()).backward()
        optimizer.step()
    written = [each["tokens"] for each in head.eval().predict(fused)]
    rows = zip(target["values"].tolist(), target["mask"].sum(dim=1).tolist(), strict=True)
    assert written == [row[1 : length - 1] for row, length in rows]


@every_head
def test_captions_of_two_views_are_not_compared(build):
    with pytest.raises(InputError, match="^captions of two views cannot be compared; leave this task out"):
        build().divergence(torch.zeros(1, 2), torch.zeros(1, 2))


def attention_by_hand(layer, queries, keys, allowed):
    """Multi-head attention for single tokens; ``allowed`` lists for each query the keys that it may see."""
    size = queries.shape[1] // layer.heads
    key_weight, value_weight = layer.key_value.weight.chunk(2)
    key_bias, value_bias = layer.key_value.bias.chunk(2)
    rows = []
    for query, places in zip(queries, allowed, strict=True):
        asked = layer.query(query)
        parts = []
        for head in range(layer.heads):
            own = slice(head * size, (head + 1) * size)
            scores = [asked[own] @ (key_weight @ keys[place] + key_bias)[own] / math.sqrt(size) for place in places]
            weights = torch.stack(scores).softmax(0)
            read = [
                weight * (value_weight @ keys[place] + value_bias)[own]
                for weight, place in zip(weights, places, strict=True)
            ]
            parts.append(torch.stack(read).sum(0))
        rows.append(layer.out(torch.cat(parts)))
    return torch.stack(rows)


def test_the_decoder_does_what_its_formula_says():
    head, fused = seeded(HEADS["transformer"]), fused_of()
    words = caption_batch()["values"]
    with torch.no_grad():
        likely = head.log_probabilities(fused, words)
        for row, length in enumerate((4, 1, 3)):
            memory = [head.enter_pooled(fused.pooled[row])]
            memory += [head.enter["image"](token) for token in fused.tokens["image"].values[row]]
            memory += [head.enter["text"](token) for token in fused.tokens["text"].values[row, :length]]
            memory = head.memory_norm(torch.stack(memory))
            tokens = head.embedding(words[row]) * math.sqrt(8) + sinusoidal_positions(words.shape[1], 8)
            for layer in head.layers:
                inner = layer.own_norm(tokens)
                before = [range(place + 1) for place in range(len(tokens))]
                tokens = tokens + attention_by_hand(layer.own_attention, inner, inner, before)
                everything = [range(len(memory))] * len(tokens)
                inner = layer.memory_norm(tokens)
                tokens = tokens + attention_by_hand(layer.memory_attention, inner, memory, everything)
                tokens = tokens + layer.feedforward(tokens)
            scores = head.out(head.norm(tokens))
            possible = [word for word in range(SIZE) if word not in (PAD, BEGIN)]
            expected = scores[:, possible].log_softmax(1)
            torch.testing.assert_close(likely[row][:, possible], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("per", ["token", "sample"])
def test_the_loss_is_that_of_plain_loops(smoothing, per):
    head = seeded(HEADS["transformer"], label_smoothing=smoothing, per=per)
    fused, target = fused_of(), caption_batch()
    likely = head.log_probabilities(fused, target["values"])
    possible = [word for word in range(SIZE) if word not in (PAD, BEGIN)]
    sums = []
    for row, length in enumerate((5, 3, 4)):
        losses = []
        for place in range(length):
            after = likely[row, place]
            wanted = target["values"][row, place + 1]
            even = -sum(after[word] for word in possible) / len(possible)
            losses.append((1 - smoothing) * -after[wanted] + smoothing * even)
        sums.append(sum(losses))
    expected = sum(sums) / (12 if per == "token" else 3)
    torch.testing.assert_close(head.loss(fused, target)["loss"], expected)


def test_label_smoothing_is_least_at_the_smoothed_truth():
    """Spread over the words that can be written, the share of a wrong one is smoothing / their number."""
    possible, smoothing = 4, 0.2
    truth = torch.full((1, 1, 5), smoothing / possible)
    truth[0, 0, 2] += 1 - smoothing
    truth[0, 0, 0] = 0.0
    words, real = torch.tensor([[2]]), torch.tensor([[True]])
    least = caption_loss(truth.log(), words, real, smoothing)
    for seed in range(5):
        noise = 0.1 * torch.randn(1, 1, 5, generator=torch.Generator().manual_seed(seed))
        assert caption_loss((truth.log() + noise).log_softmax(2), words, real, smoothing) > least


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(vocabulary_size=0), "vocabulary_size: expected a whole number of at least 1, found 0"),
        (dict(max_length=0), "max_length: expected a whole number of at least 1, found 0"),
        (dict(beam=1.5), "beam: expected a whole number of at least 1, found 1.5"),
        (dict(length_power=-1), "length_power: expected 0 or more, found -1"),
        (dict(pad=9), "pad: expected the number of a word, 0 to 8, found 9"),
        (dict(begin=-1), "begin: expected the number of a word, 0 to 8, found -1"),
        (dict(end=2), "end: expected a word of its own, found that of pad or begin (2)"),
        (dict(label_smoothing=1.0), "label_smoothing: expected 0 or more and less than 1, found 1.0"),
        (dict(per="word"), "per: expected token or sample, found 'word'"),
        (dict(modalities=["image", "sound"]), "CaptionTransformer: no modality 'sound'; there are image, text"),
        (dict(heads=3), "KeptAttention: width 8 cannot be split among 3 heads; choose a multiple"),
    ],
)
def test_options_that_cannot_be_used(options, message):
    with pytest.raises(InputError) as error:
        HEADS["transformer"](**options)
    assert str(error.value) == message


def test_only_the_chosen_modalities_are_looked_at():
    head, fused = seeded(HEADS["transformer"], modalities=["image"]), fused_of()
    assert head.modalities == ("image",)
    changed = {**fused.tokens, "text": replace(fused.tokens["text"], values=fused.tokens["text"].values + 1)}
    words = caption_batch()["values"]
    torch.testing.assert_close(
        head.log_probabilities(replace(fused, tokens=changed), words), head.log_probabilities(fused, words)
    )
