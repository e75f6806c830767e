"""M4C: one transformer over inputs and written words, which writes words of a vocabulary or points at input tokens.

Hu, Singh, Darrell, Rohrbach 2020, "Iterative answer prediction with pointer-augmented multimodal transformers for
TextVQA", section 3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, pad

from cellseg.multimodal.causal_layers import CausalLayer, Read, causal_mask
from cellseg.multimodal.decoding import Sentence, State
from cellseg.multimodal.encoders.positions import sinusoidal_positions
from cellseg.multimodal.heads.base import Target, check_choice
from cellseg.multimodal.heads.captioning import Captioner, Memory, check_modalities, present_captions
from cellseg.multimodal.values import Fused

# Of the memory: mask, candidates as inputs, candidates as what is pointed at, their mask, their words (_NO_WORD where
# they are none); keys and values follow.
_FIXED = 5
_NO_WORD = -1


@MODELS.register_module()
class PointerCaptioner(Captioner):
    """Self-attention over the tokens of all modalities and the words written so far, under a prefix mask.

    A written word sees all inputs and the words before it; inputs see inputs only, so they are computed once. The score
    of word i of the vocabulary is ``w_i . z + b_i``, that of candidate n ``(W z_n + b) . (W' z + b') / sqrt(width)``
    with z, the last output. The next input is ``w_i`` or the candidate's own token, with its position and which of both
    it is. Unlike in BERT, norms stand before each part (see ``CausalLayer``). Candidates are the tokens of one
    modality; where the tokens before this head are mixed already, choose a fusion that leaves them apart.

    Where the candidates are words (``copy`` names a text), every candidate that is the next word of the true caption is
    right as well, and a caption has the words that it points at. Elsewhere a target may say with ``copies``, bool
    ``[B, L, N]``, which candidates are right, and the number V + n in targets and captions, V being the size of the
    vocabulary, means candidate n.

    Args:
        channels: length of the fused representation; not read.
        token_channels: length of the fused tokens by modality.
        width: length of a token in the transformer.
        layers: of the transformer.
        heads: of each attention; must divide ``width``.
        feedforward: width of the hidden layers, as a multiple of ``width``.
        dropout: share of what is dropped in training.
        modalities: whose tokens are inputs; None for all of them.
        copy: the modality whose tokens are candidates; None for none.
        objective: ``binary``: every word and candidate is right or wrong by itself, summed over all of them (the
            paper's). ``softmax``: minus the logarithm of the probability of all that is right.
        **writing: the arguments of ``Captioner``.

    Raises:
        InputError: an option that cannot be used, or an unknown modality.
    """

    def __init__(
        self,
        channels: int,
        token_channels: Mapping[str, int],
        width: int = 256,
        layers: int = 4,
        heads: int = 8,
        feedforward: int = 4,
        dropout: float = 0.1,
        modalities: Sequence[str] | None = None,
        copy: str | None = None,
        objective: str = "binary",
        **writing: Any,
    ):
        super().__init__(**writing)
        self.modalities = tuple(token_channels if modalities is None else modalities)
        check_modalities("PointerCaptioner", self.modalities, token_channels)
        if copy is not None:
            check_modalities("PointerCaptioner: copy", [copy], {name: 0 for name in self.modalities})
        self.width = width
        self.copy = copy
        self.objective = check_choice("objective", objective, ("binary", "softmax"))
        self.enter = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(token_channels[name], width), nn.LayerNorm(width))
                for name in self.modalities
            }
        )
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            CausalLayer(width, heads, feedforward, dropout, memory=False) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.vocabulary = nn.Linear(width, self.vocabulary_size)
        self.word_norm = nn.LayerNorm(width)
        self.place_norm = nn.LayerNorm(width)
        self.kind = nn.Parameter(torch.randn(1 if copy is None else 2, width) * 0.02)
        if copy is not None:
            self.candidate_norm = nn.LayerNorm(width)
            self.point_from = nn.Linear(width, width)
            self.point_to = nn.Linear(width, width)

    def loss(self, fused: Fused, target: Target) -> dict[str, Tensor]:
        """Mean over the words of the true captions; nothing where none is there."""
        before, after, real = present_captions(target)
        if not len(before):
            return {}
        present = target["present"]
        scores = self.teach(tuple(part[present] for part in self.remember(fused)), before)[real].float()
        right = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, after[real].unsqueeze(1), True)
        copies = self._right_copies(fused, target)
        if copies is not None:
            right[:, self.vocabulary_size :] |= copies[present][:, 1:][real]
        if self.objective == "softmax":
            return {"loss": -self.normalise(scores).masked_fill(~right, -torch.inf).logsumexp(dim=1).mean()}
        possible = ~torch.isneginf(scores) & ~self._never(scores.shape[1])
        scores, right = scores.masked_fill(~possible, 0.0), right.to(scores.dtype)
        each = binary_cross_entropy_with_logits(scores, right, reduction="none").masked_fill(~possible, 0.0)
        return {"loss": each.sum(dim=1).mean()}

    def write(self, fused: Fused) -> list[Sentence]:
        """A sentence for each sample; with words in place of pointers where the candidates are words."""
        sentences = super().write(fused)
        ids = self._candidates(fused)
        if ids is None:
            return sentences
        return [
            replace(sentence, tokens=tuple(without_pointers(sentence.tokens, row, self.vocabulary_size)))
            for sentence, row in zip(sentences, ids.tolist(), strict=True)
        ]

    def _candidates(self, fused: Fused) -> Tensor | None:
        """The words of the candidates, int64 ``[B, N]``; None where they are no words."""
        source = fused.encoded.get(self.copy)
        if source is None or source.ids is None:
            return None
        # Where an absent text was generated there may be more tokens than words.
        more = fused.tokens[self.copy].mask.shape[1] - source.ids.shape[1]
        return pad(source.ids, (0, max(more, 0)), value=_NO_WORD)

    def _pointable(self, fused: Fused) -> Tensor:
        """Which candidates can be copied, bool ``[B, N]``: real ones, and of words those that a caption can hold."""
        mask, ids = fused.tokens[self.copy].mask, self._candidates(fused)
        if ids is None:
            return mask
        special = torch.tensor([self.pad, self.begin, self.end, _NO_WORD], device=ids.device)
        return mask & ~torch.isin(ids, special)

    def _right_copies(self, fused: Fused, target: Target) -> Tensor | None:
        if self.copy is not None and "copies" in target:
            return target["copies"]
        ids = self._candidates(fused)
        if ids is None:
            return None
        return point_at(target["values"], ids, self._pointable(fused))

    def remember(self, fused: Fused) -> Memory:
        """The inputs after they have seen each other: see ``_FIXED``, then keys and values for each layer."""
        parts, masks = self._inputs(fused)
        tokens, mask = self.dropout(torch.cat(list(parts.values()), dim=1)), torch.cat(list(masks.values()), dim=1)
        # A masked token sees at least itself, so that its softmax is defined; nobody sees it.
        visible = mask[:, None, None] | torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
        kept: list[Tensor] = []
        for layer in self.layers:
            tokens, read = layer(tokens, visible)
            kept.extend(read)
        if self.copy is None:
            nothing = tokens[:, :0]
            return mask, nothing, nothing, mask[:, :0], mask[:, :0].long(), *kept
        lengths = [part.shape[1] for part in parts.values()]
        pointed = self.norm(tokens).split(lengths, dim=1)[list(parts).index(self.copy)]
        ids = self._candidates(fused)
        ids = torch.full_like(masks[self.copy], _NO_WORD, dtype=torch.int64) if ids is None else ids
        can = self._pointable(fused)
        return mask, self.candidate_norm(parts[self.copy]), self.point_from(pointed), can, ids, *kept

    def _inputs(self, fused: Fused) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Tokens ``[B, L, width]`` and masks by modality."""
        masks = {name: fused.tokens[name].mask for name in self.modalities}
        values = {name: fused.tokens[name].values for name in self.modalities}
        # What is masked may hold anything, even NaN, which a weight of 0 would not take away.
        parts = {
            name: enter(values[name].masked_fill(~masks[name].unsqueeze(2), 0.0)) for name, enter in self.enter.items()
        }
        return parts, masks

    def teach(self, memory: Memory, words: Tensor) -> Tensor:
        """Scores ``[B, T, V + N]`` after words ``[B, T]``; those of masked candidates are -inf."""
        count = words.shape[1]
        own = causal_mask(count, words.device).expand(len(words), -1, -1)
        visible = torch.cat([memory[0].unsqueeze(1).expand(-1, count, -1), own], dim=2)
        return self._run(memory, words, 0, visible.unsqueeze(1), self.start(memory))[0]

    def start(self, memory: Memory) -> State:
        """Keys and values of no words, for each layer."""
        return tuple(part[:, :, :0] for part in memory[_FIXED:])

    def step(self, memory: Memory, words: Tensor, state: State) -> tuple[Tensor, State]:
        """See ``Captioner``."""
        written = state[0].shape[2]
        visible = torch.cat([memory[0], memory[0].new_ones(len(words), written + 1)], dim=1)
        scores, state = self._run(memory, words.unsqueeze(1), written, visible[:, None, None], state)
        return scores[:, 0], state

    def _run(self, memory: Memory, words: Tensor, position: int, visible: Tensor, state: State) -> tuple[Tensor, State]:
        """Scores after words ``[B, T]`` that stand at ``position`` and behind, and the state with them."""
        inputs = memory[0].shape[1]
        tokens = self._written(memory, words, position)
        after: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            own = slice(2 * index, 2 * index + 2)
            tokens, read = layer(tokens, visible, _joined(memory[_FIXED:][own], state[own]))
            after.extend(part[:, :, inputs:] for part in read)
        outputs = self.norm(tokens)
        scores = self.vocabulary(outputs)
        if self.copy is not None:
            pointed = self.point_to(outputs) @ memory[2].transpose(1, 2) / self.width**0.5
            scores = torch.cat([scores, pointed.masked_fill(~memory[3].unsqueeze(1), -torch.inf)], dim=2)
        return scores, tuple(after)

    def _written(self, memory: Memory, words: Tensor, position: int) -> Tensor:
        """The inputs for words ``[B, T]``: their vectors, positions, and whether they are copies."""
        size = self.vocabulary_size
        if memory[1].shape[1]:
            # A pointer at a word goes on as that word: as such it stood in the captions of the training.
            place = (words - size).clamp(min=0)
            pointed = memory[4].gather(1, place)
            words = torch.where((words >= size) & (pointed != _NO_WORD), pointed, words)
        vectors = self.word_norm(self.vocabulary.weight[words.clamp(max=size - 1)])
        copied = words >= size
        if memory[1].shape[1]:
            place = place.unsqueeze(2).expand(-1, -1, self.width)
            vectors = torch.where(copied.unsqueeze(2), memory[1].gather(1, place), vectors)
        places = sinusoidal_positions(position + words.shape[1], self.width, words.device)[position:]
        return self.dropout(vectors + self.place_norm(places + self.kind[copied.long()]))


def point_at(words: Tensor, candidates: Tensor, mask: Tensor) -> Tensor:
    """Which candidates are the same word: the ``copies`` of a target.

    Args:
        words: int64 ``[B, L]``, the true caption.
        candidates: int64 ``[B, N]``, the words that the tokens of the copied modality stand for.
        mask: bool ``[B, N]``, which of them may be copied: neither padding nor a word that only begins or ends a text.

    Returns:
        Bool ``[B, L, N]``.
    """
    return (words.unsqueeze(2) == candidates.unsqueeze(1)) & mask.unsqueeze(1)


def without_pointers(tokens: Sequence[int], candidates: Sequence[int], vocabulary_size: int) -> list[int]:
    """A written caption in which words stand where it points at candidates.

    Args:
        tokens: of a prediction, ``vocabulary_size`` + n for candidate n.
        candidates: the words that the tokens of the copied modality stand for.
        vocabulary_size: V.
    """
    return [token if token < vocabulary_size else candidates[token - vocabulary_size] for token in tokens]


def _joined(first: Read, second: Read) -> Read:
    return torch.cat([first[0], second[0]], dim=2), torch.cat([first[1], second[1]], dim=2)
