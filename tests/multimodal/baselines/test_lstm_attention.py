"""Show, attend and tell: each formula in plain loops, as a head and as a fusion."""

import pytest
import torch

from cellseg.errors import InputError
from cellseg.multimodal.baselines import LSTMAttentionCaptioner, LSTMAttentionFusion
from cellseg.multimodal.baselines.lstm_attention import AttendingLSTM
from cellseg.multimodal.values import Fused


def lstm_by_hand(cell, inputs, hidden, memory):
    gates = cell.weight_ih @ inputs + cell.bias_ih + cell.weight_hh @ hidden + cell.bias_hh
    enter, forget, fresh, leave = gates.chunk(4)
    memory = forget.sigmoid() * memory + enter.sigmoid() * fresh.tanh()
    return leave.sigmoid() * memory.tanh(), memory


def step_by_hand(lstm, image, inputs, hidden, memory):
    """One step over the real tokens of one image."""
    scores = [
        lstm.score.weight[0] @ torch.tanh(lstm.from_image(token) + lstm.from_hidden.weight @ hidden) for token in image
    ]
    weights = torch.stack(scores).softmax(0)
    gate = torch.sigmoid(lstm.gate.weight[0] @ hidden + lstm.gate.bias[0])
    seen = gate * sum(weight * token for weight, token in zip(weights, image, strict=True))
    hidden, memory = lstm_by_hand(lstm.cell, torch.cat([inputs, seen]), hidden, memory)
    return hidden, memory, seen, weights


def start_by_hand(lstm, image):
    mean = sum(image) / len(image)
    return torch.tanh(lstm.start_hidden(mean)), torch.tanh(lstm.start_cell(mean))


@torch.no_grad()
def test_a_step_does_what_its_formulas_say(settled):
    lstm = settled(AttendingLSTM(image_channels=4, input_channels=3, width=5))
    image, inputs = torch.randn(2, 6, 4), torch.randn(2, 3)
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    memory = lstm.remember(image, mask)
    state = lstm.start(memory)
    after, seen, weights = lstm.step(memory, inputs, state)
    for row, count in enumerate((6, 4)):
        hidden, cell = start_by_hand(lstm, image[row, :count])
        torch.testing.assert_close(state[0][row], hidden)
        torch.testing.assert_close(state[1][row], cell)
        expected = step_by_hand(lstm, image[row, :count], inputs[row], hidden, cell)
        for found, value in zip((after[0], after[1], seen), expected[:3], strict=True):
            torch.testing.assert_close(found[row], value)
        torch.testing.assert_close(weights[row, :count], expected[3])
        assert weights[row, count:].eq(0).all()


def build(**options):
    options = dict(vocabulary_size=8, embedding=3, width=5, dropout=0.0) | options
    return LSTMAttentionCaptioner(9, {"image": 6, "text": 7}, **options)


def captions():
    words = torch.tensor([[2, 5, 6, 7, 3], [2, 4, 3, 0, 0], [2, 6, 6, 3, 0]])
    return dict(values=words, mask=words > 0, present=torch.tensor([True, True, True]))


@torch.no_grad()
def test_the_head_does_what_its_formulas_say(pair, settled):
    head, tokens, target = settled(build(coverage=0.7)), pair(), captions()
    fused = Fused(torch.zeros(3, 9), tokens, {})
    likely = head.log_probabilities(fused, target["values"][:, :-1])
    entropies, uneven = [], []
    for row, length in enumerate((4, 2, 3)):
        image = tokens["image"].values[row]
        hidden, cell = start_by_hand(head.lstm, image)
        looked = torch.zeros(len(image))
        for place in range(length):
            vector = head.embedding.weight[target["values"][row, place]]
            hidden, cell, seen, weights = step_by_hand(head.lstm, image, vector, hidden, cell)
            looked += weights
            scores = head.out(vector + head.from_hidden(hidden) + head.from_image(seen))
            possible = [1, 3, 4, 5, 6, 7]
            expected = scores[possible].log_softmax(0)
            torch.testing.assert_close(likely[row, place, possible], expected)
            entropies.append(-expected[possible.index(target["values"][row, place + 1])])
        uneven.append(sum((1 - each) ** 2 for each in looked))
    losses = head.loss(fused, target)
    torch.testing.assert_close(losses["loss"], sum(entropies) / 9)
    torch.testing.assert_close(losses["loss_coverage"], 0.7 * sum(uneven) / 9)
    # As printed: both terms for each caption.
    head.per, head.loss_options = "sample", dict(head.loss_options, per="sample")
    losses = head.loss(fused, target)
    torch.testing.assert_close(losses["loss"], sum(entropies) / 3)
    torch.testing.assert_close(losses["loss_coverage"], 0.7 * sum(uneven) / 3)


def test_an_absent_image_asks_for_no_coverage(pair, settled):
    head, tokens, target = settled(build()), pair(), captions()
    target["present"] = torch.tensor([False, True, False])
    tokens["image"].mask[1] = False
    losses = head.loss(Fused(torch.zeros(3, 9), tokens, {}), target)
    assert losses["loss_coverage"] == 0 and losses["loss"] > 0


def test_coverage_makes_attention_even(pair, settled):
    """Alone, the second term is least where all tokens are looked at equally long."""
    head, tokens, target = settled(build()), pair(), captions()
    target["values"][:] = torch.tensor([2, 5, 6, 5, 3])
    target["mask"][:] = True
    fused = Fused(torch.zeros(3, 9), tokens, {})
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    # Each caption has 4 words.
    first = 4 * head.loss(fused, target)["loss_coverage"].item()
    for _ in range(100):
        optimizer.zero_grad()
        head.loss(fused, target)["loss_coverage"].backward()
        optimizer.step()
    # 4 words look at 5 tokens: at best each is looked at for 4/5 of a word.
    assert first > 0.4
    assert 4 * head.loss(fused, target)["loss_coverage"].item() == pytest.approx(5 * 0.2**2, abs=0.02)


def test_the_fusion_holds_its_contract(check_fusion, settled):
    check_fusion(settled(LSTMAttentionFusion({"image": 6, "text": 7}, width=8)))


@torch.no_grad()
def test_the_fusion_reads_the_text_and_looks_at_the_image(pair, everywhere, settled):
    fusion, tokens = settled(LSTMAttentionFusion({"image": 6, "text": 7}, width=8)), pair()
    fused = fusion(tokens, everywhere(tokens))
    assert list(fused.attention) == ["text<-image/0"]
    for row, length in enumerate((4, 1, 3)):
        image = fusion.project["image"](tokens["image"].values[row])
        hidden, cell = start_by_hand(fusion.lstm, image)
        for place in range(length):
            word = fusion.project["text"](tokens["text"].values[row, place])
            hidden, cell, _, weights = step_by_hand(fusion.lstm, image, word, hidden, cell)
            torch.testing.assert_close(fused.tokens["text"].values[row, place], hidden)
            torch.testing.assert_close(fused.attention["text<-image/0"][row, 0, place], weights)
        assert fused.attention["text<-image/0"][row, 0, length:].eq(0).all()
        torch.testing.assert_close(fused.pooled[row], hidden)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: LSTMAttentionFusion({"image": 6, "table": 7}, 8),
            "LSTMAttentionFusion: pairs the modalities 'image' and 'text' (options image and text), the model has "
            "'image', 'table'",
        ),
        (
            lambda: LSTMAttentionFusion({"image": 6, "text": 7, "table": 7}, 8),
            "LSTMAttentionFusion: pairs the modalities 'image' and 'text' (options image and text), the model has "
            "'image', 'text', 'table'",
        ),
        (lambda: build(image="scan"), "LSTMAttentionCaptioner: no modality 'scan'; there are image, text"),
    ],
)
def test_modalities_that_are_not_there(make, message):
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value) == message
