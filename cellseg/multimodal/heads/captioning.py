"""Captions: what every captioning head does, and the transformer decoder that writes from the fused tokens."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from cellseg.errors import InputError
from cellseg.multimodal.causal_layers import CausalLayer, causal_mask
from cellseg.multimodal.decoding import Sentence, State, beam_search, greedy_search
from cellseg.multimodal.encoders.positions import sinusoidal_positions
from cellseg.multimodal.heads.base import Target, check_choice, check_count
from cellseg.multimodal.losses import sequence_cross_entropy
from cellseg.multimodal.values import Fused

Memory = tuple[Tensor, ...]


class Captioner(nn.Module):
    """A head that writes a sentence, word by word; heads say what they remember and how they go on.

    It knows the true caption in ``loss`` only, and there a word is predicted from the words before it. The words
    ``pad`` and ``begin`` have probability 0 everywhere: they are neither written nor given a share of the loss.

    Args:
        vocabulary_size: words that there are, V.
        pad: number of the word that fills up short sentences; this and the next two as ``WordPieceTokenizer`` has them.
        begin: of the word that stands before each sentence.
        end: of the word that ends it.
        max_length: most words that are written, the end counted.
        beam: width of the search; 1 takes the likeliest word each time.
        length_power: see ``beam_search``.

    Attributes:
        modalities: those that the head reads by name; the model refuses to be built without them.

    Raises:
        InputError: a number that cannot be used; names the option.
    """

    modalities: tuple[str, ...] = ()

    def __init__(
        self,
        vocabulary_size: int,
        pad: int = 0,
        begin: int = 2,
        end: int = 3,
        max_length: int = 20,
        beam: int = 3,
        length_power: float = 0.7,
    ):
        super().__init__()
        for name, value in dict(vocabulary_size=vocabulary_size, max_length=max_length, beam=beam).items():
            check_count(name, value)
        if not 0 <= length_power < torch.inf:
            raise InputError(f"length_power: expected 0 or more, found {length_power}")
        _check_words(vocabulary_size, dict(pad=pad, begin=begin, end=end))
        self.vocabulary_size = vocabulary_size
        self.pad, self.begin, self.end = pad, begin, end
        self.max_length = max_length
        self.beam = beam
        self.length_power = length_power
        never = torch.zeros(vocabulary_size, dtype=torch.bool)
        never[[pad, begin]] = True
        self.register_buffer("never", never, persistent=False)

    def remember(self, fused: Fused) -> Memory:
        """What writing needs of the inputs: tensors ``[B, ...]``."""
        raise NotImplementedError

    def teach(self, memory: Memory, words: Tensor) -> Tensor:
        """Scores of the next words ``[B, T, V]`` after each of the given words, int64 ``[B, T]``."""
        raise NotImplementedError

    def start(self, memory: Memory) -> State:
        """The state before the first word: tensors ``[B, ...]``."""
        raise NotImplementedError

    def step(self, memory: Memory, words: Tensor, state: State) -> tuple[Tensor, State]:
        """Scores of the next words ``[B, V]`` after the last words, int64 ``[B]``, and the new state."""
        raise NotImplementedError

    def forward(self, fused: Fused) -> Tensor:
        """The written words, int64 ``[B, max_length]``, filled up with ``pad``."""
        sentences = self.write(fused)
        words = fused.pooled.new_full((len(sentences), self.max_length), self.pad, dtype=torch.long)
        for row, sentence in zip(words, sentences, strict=True):
            row[: len(sentence.tokens)] = row.new_tensor(sentence.tokens)
        return words

    def log_probabilities(self, fused: Fused, words: Tensor) -> Tensor:
        """Of every next word, ``[B, T, V]``, after each of the given words, int64 ``[B, T]`` from ``begin`` on."""
        return self.normalise(self.teach(self.remember(fused), words))

    def predict(self, fused: Fused) -> list[dict[str, Any]]:
        """A caption a sample: ``tokens`` (without begin and end) and ``score`` (see ``Sentence``)."""
        return [dict(tokens=list(sentence.tokens), score=sentence.score) for sentence in self.write(fused)]

    @torch.no_grad()
    def write(self, fused: Fused) -> list[Sentence]:
        """A sentence for each sample."""
        memory = self.remember(fused)
        first = fused.pooled.new_full((len(fused.pooled),), self.begin, dtype=torch.long)
        rules = dict(end=self.end, max_length=self.max_length, length_power=self.length_power)
        if self.beam == 1:
            return greedy_search(partial(self._next_words, memory), self.start(memory), first, **rules)
        # Sentences of a sample share its memory, so that only the state has to follow them through the beam.
        wide = tuple(part.repeat_interleave(self.beam, dim=0) for part in memory)
        return beam_search(partial(self._next_words, wide), self.start(wide), first, beam=self.beam, **rules)

    def divergence(self, output: Tensor, reference: Tensor) -> Tensor:
        """Refuse: written words have no gradient.

        Raises:
            InputError: always.
        """
        raise InputError("captions of two views cannot be compared; leave this task out of the consistency loss")

    def normalise(self, scores: Tensor) -> Tensor:
        """Log-probabilities of scores ``[..., V]`` or, where a head can copy, more than V of them."""
        return scores.float().masked_fill(self._never(scores.shape[-1]), -torch.inf).log_softmax(dim=-1)

    def _next_words(self, memory: Memory, words: Tensor, state: State) -> tuple[Tensor, State]:
        scores, state = self.step(memory, words, state)
        return self.normalise(scores), state

    def _never(self, count: int) -> Tensor:
        """Bool ``[count]``: which of V or more words are never written."""
        return torch.cat([self.never, self.never.new_zeros(count - self.vocabulary_size)])


def caption_loss(
    likely: Tensor, words: Tensor, real: Tensor, label_smoothing: float = 0.0, per: str = "token"
) -> Tensor:
    """Cross-entropy of the words of captions, smoothed over the words that can be written.

    Args:
        likely: log-probabilities ``[N, T, V]``, -inf for words that are never written.
        words: the true words, int64 ``[N, T]``.
        real: bool ``[N, T]``, false for padding; at least one is true.
        label_smoothing: share of the truth that is spread evenly.
        per: see ``losses.sequence_cross_entropy``.

    Returns:
        A scalar.
    """
    exact = sequence_cross_entropy(likely, words, real, per)
    if not label_smoothing:
        return exact
    chosen = likely[real]
    possible = ~torch.isneginf(chosen)
    each = -chosen.masked_fill(~possible, 0.0).sum(dim=1) / possible.sum(dim=1)
    even = each.sum() / (len(words) if per == "sample" else len(each))
    return (1 - label_smoothing) * exact + label_smoothing * even


def present_captions(target: Target) -> tuple[Tensor, Tensor, Tensor]:
    """The captions of a batch that are there, as what is known and what follows.

    Args:
        target: ``values`` int64 ``[B, L]`` with begin and end, ``mask`` bool ``[B, L]``, ``present`` bool ``[B]``.

    Returns:
        The words before, int64 ``[P, L - 1]``, the words to predict of the same form, and where these are real.
    """
    present = target["present"]
    words, mask = target["values"][present], target["mask"][present]
    return words[:, :-1], words[:, 1:], mask[:, 1:]


def loss_options(label_smoothing: float, per: str) -> dict[str, Any]:
    """The last arguments of ``caption_loss``.

    Raises:
        InputError: one of them means nothing; names it.
    """
    if not 0 <= label_smoothing < 1:
        raise InputError(f"label_smoothing: expected 0 or more and less than 1, found {label_smoothing}")
    return dict(label_smoothing=label_smoothing, per=check_choice("per", per, ("token", "sample")))


def check_modalities(owner: str, wanted: Sequence[str], known: Mapping[str, int]) -> None:
    """Refuse modalities that the model does not have.

    Raises:
        InputError: names the first that is missing and those that there are.
    """
    for name in wanted:
        if name not in known:
            raise InputError(f"{owner}: no modality {name!r}; there are {', '.join(known)}")


@MODELS.register_module()
class CaptionTransformer(Captioner):
    """Causal transformer decoder that looks at the fused representation and at the fused tokens of all modalities.

    Args:
        channels: length of the fused representation.
        token_channels: length of the fused tokens by modality.
        width: length of a token in the decoder.
        layers: of the decoder.
        heads: of each attention; must divide ``width``.
        feedforward: width of the hidden layers, as a multiple of ``width``.
        dropout: share of what is dropped in training.
        modalities: whose tokens are looked at; None for all of them.
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
        width: int = 256,
        layers: int = 3,
        heads: int = 8,
        feedforward: int = 4,
        dropout: float = 0.1,
        modalities: Sequence[str] | None = None,
        label_smoothing: float = 0.0,
        per: str = "token",
        **writing: Any,
    ):
        super().__init__(**writing)
        self.modalities = tuple(token_channels if modalities is None else modalities)
        check_modalities("CaptionTransformer", self.modalities, token_channels)
        self.width = width
        self.loss_options = loss_options(label_smoothing, per)
        self.enter_pooled = nn.Linear(channels, width)
        self.enter = nn.ModuleDict({name: nn.Linear(token_channels[name], width) for name in self.modalities})
        self.memory_norm = nn.LayerNorm(width)
        self.embedding = nn.Embedding(self.vocabulary_size, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(CausalLayer(width, heads, feedforward, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, self.vocabulary_size)

    def loss(self, fused: Fused, target: Target) -> dict[str, Tensor]:
        """Cross-entropy of the true captions; nothing where none is there."""
        before, after, real = present_captions(target)
        if not len(before):
            return {}
        memory = tuple(part[target["present"]] for part in self.remember(fused))
        likely = self.normalise(self.teach(memory, before))
        return {"loss": caption_loss(likely, after, real, **self.loss_options)}

    def remember(self, fused: Fused) -> Memory:
        """Mask of the memory, then keys and values for each layer."""
        pooled = self.enter_pooled(fused.pooled).unsqueeze(1)
        parts, masks = [pooled], [torch.ones_like(pooled[:, :, 0], dtype=torch.bool)]
        for name, enter in self.enter.items():
            tokens = fused.tokens[name]
            # What is masked may hold anything, even NaN, which a weight of 0 would not take away.
            parts.append(enter(tokens.values.masked_fill(~tokens.mask.unsqueeze(2), 0.0)))
            masks.append(tokens.mask)
        tokens = self.memory_norm(torch.cat(parts, dim=1))
        return (
            torch.cat(masks, dim=1),
            *(part for layer in self.layers for part in layer.memory_attention.read(tokens)),
        )

    def teach(self, memory: Memory, words: Tensor) -> Tensor:
        """See ``Captioner``."""
        mask = causal_mask(words.shape[1], words.device)
        return self._run(memory, words, 0, mask, (None,) * 2 * len(self.layers))[0]

    def start(self, memory: Memory) -> State:
        """Keys and values of no words, for each layer."""
        return tuple(part[:, :, :0] for part in memory[1:])

    def step(self, memory: Memory, words: Tensor, state: State) -> tuple[Tensor, State]:
        """See ``Captioner``."""
        scores, state = self._run(memory, words.unsqueeze(1), state[0].shape[2], None, state)
        return scores[:, 0], state

    def _run(
        self, memory: Memory, words: Tensor, position: int, mask: Tensor | None, state: tuple[Tensor | None, ...]
    ) -> tuple[Tensor, State]:
        """Scores after words ``[B, T]`` that stand at ``position`` and behind, and the state with them."""
        places = sinusoidal_positions(position + words.shape[1], self.width, words.device)[position:]
        tokens = self.dropout(self.embedding(words) * self.width**0.5 + places)
        after: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            own = slice(2 * index, 2 * index + 2)
            before = None if state[own][0] is None else state[own]
            tokens, read = layer(tokens, mask, before, memory[1:][own], memory[0])
            after.extend(read)
        return self.out(self.norm(tokens)), tuple(after)


def _check_words(size: int, special: Mapping[str, int]) -> None:
    if size < 1:
        raise InputError(f"vocabulary_size: expected 1 or more, found {size}")
    for name, word in special.items():
        if not 0 <= word < size:
            raise InputError(f"{name}: expected the number of a word, 0 to {size - 1}, found {word}")
    if special["end"] in (special["pad"], special["begin"]):
        raise InputError(f"end: expected a word of its own, found that of pad or begin ({special['end']})")
