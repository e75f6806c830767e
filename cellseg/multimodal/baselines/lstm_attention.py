"""LSTM-Attention: soft attention over image tokens, as a captioning head and as a fusion for questions.

Xu et al. 2015, "Show, attend and tell: neural image caption generation with visual attention", sections 3 and 4.2.
"""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from cellseg.multimodal.baselines.pair import StandIn, check_pair, masked_softmax, shown
from cellseg.multimodal.decoding import State
from cellseg.multimodal.fusion.base import Fusion, repooled
from cellseg.multimodal.heads.base import Target
from cellseg.multimodal.heads.captioning import (
    Captioner,
    Memory,
    caption_loss,
    check_modalities,
    loss_options,
    present_captions,
)
from cellseg.multimodal.values import Fused, Tokens, masked_mean


class AttendingLSTM(nn.Module):
    """An LSTM that looks at image tokens before each word.

    With tokens ``a_i``, the state h and the input y of a step:

    - ``e_i = w tanh(W_a a_i + W_h h)``, ``alpha = softmax(e)`` over the real tokens;
    - ``z = beta sum_i alpha_i a_i`` with the gate ``beta = sigmoid(f(h))``, one number a step;
    - ``h, c = LSTM([y, z], (h, c))``; both start at ``tanh(linear(mean a_i))``.

    Args:
        image_channels: length of ``a_i``.
        input_channels: length of y.
        width: length of h and of the hidden layer of the attention.
    """

    def __init__(self, image_channels: int, input_channels: int, width: int):
        super().__init__()
        self.stand_in = StandIn(image_channels)
        self.start_hidden = nn.Linear(image_channels, width)
        self.start_cell = nn.Linear(image_channels, width)
        self.from_image = nn.Linear(image_channels, width)
        self.from_hidden = nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)
        self.gate = nn.Linear(width, 1)
        self.cell = nn.LSTMCell(input_channels + image_channels, width)

    def remember(self, values: Tensor, mask: Tensor) -> Memory:
        """What the steps need of image tokens ``[B, N, D]`` with mask ``[B, N]``: tokens, mask, ``W_a a_i``."""
        values, mask = self.stand_in(values, mask)
        return values, mask, self.from_image(values)

    def start(self, memory: Memory) -> State:
        """The state h and c before the first word, ``[B, width]`` each."""
        mean = masked_mean(memory[0], memory[1])
        return torch.tanh(self.start_hidden(mean)), torch.tanh(self.start_cell(mean))

    def step(self, memory: Memory, inputs: Tensor, state: State) -> tuple[State, Tensor, Tensor]:
        """The state after inputs ``[B, C]``, what was seen, z ``[B, D]``, and the weights alpha ``[B, N]``."""
        values, mask, keys = memory
        hidden = state[0]
        scores = self.score(torch.tanh(keys + self.from_hidden(hidden).unsqueeze(1))).squeeze(2)
        weights = masked_softmax(scores, mask)
        seen = torch.sigmoid(self.gate(hidden)) * (weights.unsqueeze(2) * values).sum(dim=1)
        return self.cell(torch.cat([inputs, seen], dim=1), state), seen, weights


@MODELS.register_module()
class LSTMAttentionCaptioner(Captioner):
    """Show, attend and tell: writes with an ``AttendingLSTM``.

    The next word follows from ``L_o (E y + L_h h + L_z z)`` (equation 7), and the loss has the term
    ``coverage sum_i (1 - sum_t alpha_ti)^2`` (equation 14): all image tokens are to be looked at equally long. There it
    stands beside the sum over the words of a caption; where the mean over words is taken (``per``), it is divided by
    their number, too, or it would outweigh them by as much.

    Args:
        channels: length of the fused representation, which this head does not use.
        token_channels: length of the fused tokens by modality.
        image: the modality that is looked at.
        embedding: length of a word's vector.
        width: length of the LSTM's state.
        dropout: share of the last layer's input that is dropped in training.
        coverage: weight of the second term, lambda.
        label_smoothing: see ``caption_loss``.
        per: see ``losses.sequence_cross_entropy``.
        **writing: the arguments of ``Captioner``.

    Raises:
        InputError: an option that cannot be used, or an unknown modality.
    """

    def __init__(
        self,
        channels: int,
        token_channels: Mapping[str, int],
        image: str = "image",
        embedding: int = 256,
        width: int = 512,
        dropout: float = 0.5,
        coverage: float = 1.0,
        label_smoothing: float = 0.0,
        per: str = "token",
        **writing: Any,
    ):
        super().__init__(**writing)
        check_modalities("LSTMAttentionCaptioner", [image], token_channels)
        self.image, self.modalities = image, (image,)
        self.coverage = coverage
        self.per, self.loss_options = per, loss_options(label_smoothing, per)
        self.embedding = nn.Embedding(self.vocabulary_size, embedding)
        self.lstm = AttendingLSTM(token_channels[image], embedding, width)
        self.from_hidden = nn.Linear(width, embedding)
        self.from_image = nn.Linear(token_channels[image], embedding)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(embedding, self.vocabulary_size)

    def loss(self, fused: Fused, target: Target) -> dict[str, Tensor]:
        """Cross-entropy of the true captions and the term for even attention; nothing where no caption is there."""
        before, after, real = present_captions(target)
        if not len(before):
            return {}
        present = target["present"]
        memory = tuple(part[present] for part in self.remember(fused))
        scores, weights = self.unroll(memory, before)
        looked = (weights * real.unsqueeze(2)).sum(dim=1)
        # A stand-in is looked at all the time; nothing is to be learned from that.
        seen = fused.tokens[self.image].mask[present].any(dim=1, keepdim=True) & memory[1]
        uneven = ((1 - looked).square() * seen).sum() / (real.sum() if self.per == "token" else len(seen))
        entropy = caption_loss(self.normalise(scores), after, real, **self.loss_options)
        return {"loss": entropy, "loss_coverage": self.coverage * uneven}

    def remember(self, fused: Fused) -> Memory:
        """See ``AttendingLSTM.remember``."""
        tokens = fused.tokens[self.image]
        return self.lstm.remember(tokens.values, tokens.mask)

    def teach(self, memory: Memory, words: Tensor) -> Tensor:
        """See ``Captioner``."""
        return self.unroll(memory, words)[0]

    def unroll(self, memory: Memory, words: Tensor) -> tuple[Tensor, Tensor]:
        """Scores ``[B, T, V]`` after words ``[B, T]``, and where the network looked before each, ``[B, T, N]``."""
        state, scores, weights = self.start(memory), [], []
        for column in words.unbind(dim=1):
            inner, looked, state = self._advance(memory, column, state)
            scores.append(inner)
            weights.append(looked)
        return self.out(torch.stack(scores, dim=1)), torch.stack(weights, dim=1)

    def start(self, memory: Memory) -> State:
        """See ``AttendingLSTM.start``."""
        return self.lstm.start(memory)

    def step(self, memory: Memory, words: Tensor, state: State) -> tuple[Tensor, State]:
        """See ``Captioner``."""
        inner, _, state = self._advance(memory, words, state)
        return self.out(inner), state

    def _advance(self, memory: Memory, words: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """What the last layer reads, ``[B, embedding]``, the weights ``[B, N]``, and the new state."""
        vectors = self.embedding(words)
        state, seen, weights = self.lstm.step(memory, vectors, state)
        return self.dropout(vectors + self.from_hidden(state[0]) + self.from_image(seen)), weights, state


@MODELS.register_module()
class LSTMAttentionFusion(Fusion):
    """The ``AttendingLSTM`` as a fusion: it reads the text that is given instead of writing one.

    Before each text token it looks at the image; its state after the last real one is the fused representation. The
    fused text tokens are the states; ``attention["text<-image/0"]`` (by the names of the modalities) says where it
    looked.

    Args:
        channels: see ``Fusion``; of an image and a text.
        width: see ``Fusion``; also the length of the state.
        image: the modality that is looked at.
        text: the modality that is read.

    Raises:
        InputError: other modalities than these two.
    """

    def __init__(self, channels: Mapping[str, int], width: int, image: str = "image", text: str = "text"):
        super().__init__(channels, width)
        check_pair("LSTMAttentionFusion", channels, image, text)
        self.image, self.text = image, text
        self.text_stand_in = StandIn(width)
        self.lstm = AttendingLSTM(width, width, width)

    def fuse(self, encoded: Mapping[str, Tokens], projected: Mapping[str, Tokens]) -> Fused:
        """See ``Fusion.fuse``."""
        image, text = projected[self.image], projected[self.text]
        memory = self.lstm.remember(image.values, image.mask)
        words, mask = self.text_stand_in(text.values, text.mask)
        state, states, weights = self.lstm.start(memory), [], []
        for column, real in zip(words.unbind(dim=1), mask.unbind(dim=1), strict=True):
            after, _, looked = self.lstm.step(memory, column, state)
            # Padding leaves the state as it is.
            state = tuple(torch.where(real.unsqueeze(1), new, old) for new, old in zip(after, state, strict=True))
            states.append(state[0])
            weights.append(looked)
        read = repooled(torch.stack(states, dim=1)[:, : text.mask.shape[1]], text.mask)
        attention = shown(torch.stack(weights, dim=1).unsqueeze(1), text.mask, image.mask)
        tokens = {self.image: image, self.text: read}
        return Fused(state[0], tokens, encoded, {f"{self.text}<-{self.image}/0": attention})
