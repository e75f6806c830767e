"""Sentences word by word: greedy and beam search with any network that says how likely each next word is."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

State = tuple[Tensor, ...]
# From the last words, int64 [N], and the state of N unfinished sentences (tensors [N, ...]) to the log-probabilities of
# the next words, float [N, V], and the new state.
Step = Callable[[Tensor, State], tuple[Tensor, State]]


@dataclass(frozen=True)
class Sentence:
    """What a search found.

    Attributes:
        tokens: the words, without begin and end.
        score: sum of the words' log-probabilities, divided by a power of their number; the end counts as a word.
    """

    tokens: tuple[int, ...]
    score: float


@torch.no_grad()
def greedy_search(
    step: Step, state: State, first: Tensor, *, end: int, max_length: int, length_power: float = 0.7
) -> list[Sentence]:
    """The sentences that take the likeliest word each time.

    Args:
        step: gives the next words; called with as many rows as ``first`` has.
        state: before the first word, tensors ``[B, ...]``.
        first: int64 ``[B]``, the words that begin the sentences.
        end: the word after which a sentence is complete.
        max_length: most words of a sentence, the end counted; what reaches it is cut off there.
        length_power: the score is divided by the number of words to this power.

    Returns:
        B sentences.
    """
    if not len(first):
        return []
    words = first
    done = torch.zeros_like(first, dtype=torch.bool)
    total = torch.zeros(len(first), device=first.device)
    length = torch.zeros_like(first)
    columns = []
    for _ in range(max_length):
        likely, state = step(words, state)
        best, chosen = likely.float().max(dim=1)
        total = torch.where(done, total, total + best)
        length = length + (~done).long()
        words = chosen.masked_fill(done, end)
        columns.append(words)
        done = done | (words == end)
        if done.all():
            break
    rows = torch.stack(columns, dim=1).tolist()
    scores = (total / length**length_power).tolist()
    return [Sentence(_until(row, end), score) for row, score in zip(rows, scores, strict=True)]


@torch.no_grad()
def beam_search(
    step: Step, state: State, first: Tensor, *, end: int, max_length: int, beam: int, length_power: float = 0.7
) -> list[Sentence]:
    """The sentences with the best scores among those that a beam meets.

    After every word the best ``beam`` continuations of a sample are kept, by their sum of log-probabilities. Those of
    them that end are complete, the others go on; what has ``max_length`` words is taken as it is. The best score wins,
    of equal ones the shorter sentence. The search stops when nothing goes on that could still win. With a beam of 1 it
    is the greedy search; a beam at least as wide as there are sentences meets them all.

    Args:
        step: gives the next words; called with ``B * beam`` rows, those of a sample one after another.
        state: before the first word, tensors ``[B * beam, ...]``.
        first: int64 ``[B]``, the words that begin the sentences.
        end: the word after which a sentence is complete.
        max_length: most words of a sentence, the end counted.
        beam: unfinished sentences that are followed for each sample.
        length_power: a score is divided by the number of words to this power, 0 or more: 0 prefers short sentences, 1
            is the mean log-probability of a word.

    Returns:
        B sentences.
    """
    samples = len(first)
    if not samples:
        return []
    words = first.repeat_interleave(beam)
    prefixes = first.new_zeros(samples, beam, 0)
    # All rows of a sample begin alike: only the first may go on, or they would stay alike.
    totals = torch.full((samples, beam), -torch.inf, device=first.device)
    totals[:, 0] = 0.0
    best = _Best(first.new_full((samples, max_length), end), totals.new_full((samples,), -torch.inf), length_power)
    base = torch.arange(samples, device=first.device).unsqueeze(1) * beam
    for _ in range(max_length):
        likely, state = step(words, state)
        totals, parents, prefixes = _continue(totals, prefixes, likely.float())
        ends = prefixes[:, :, -1] == end
        best.offer(prefixes, totals.masked_fill(~ends, -torch.inf))
        totals = totals.masked_fill(ends, -torch.inf)
        # More words never raise a total, and most raise a score when they are as many as there can be.
        if not (totals / max_length**length_power > best.scores.unsqueeze(1)).any():
            break
        rows = (base + parents).flatten()
        state = tuple(part[rows] for part in state)
        words = prefixes[:, :, -1].flatten()
    if prefixes.shape[2] == max_length:
        best.offer(prefixes, totals)
    return best.sentences(end)


def _continue(totals: Tensor, prefixes: Tensor, likely: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One more word.

    Args:
        totals: ``[B, beam]``, sums of log-probabilities.
        prefixes: int64 ``[B, beam, length]``.
        likely: ``[B * beam, V]``, of the next words.

    Returns:
        Totals ``[B, beam]`` of the best continuations, the rows they come from, and their words
        ``[B, beam, length + 1]``.
    """
    samples, beam, length = prefixes.shape
    vocabulary = likely.shape[1]
    candidates = totals.unsqueeze(2) + likely.view(samples, beam, vocabulary)
    totals, index = candidates.flatten(1).topk(beam, dim=1)
    parents, words = index // vocabulary, index % vocabulary
    before = prefixes.gather(1, parents.unsqueeze(2).expand(-1, -1, length))
    return totals, parents, torch.cat([before, words.unsqueeze(2)], dim=2)


@dataclass
class _Best:
    """The best sentence of each sample so far.

    Attributes:
        words: int64 ``[B, max_length]``, filled up with the end.
        scores: ``[B]``.
        length_power: see ``beam_search``.
    """

    words: Tensor
    scores: Tensor
    length_power: float

    def offer(self, words: Tensor, totals: Tensor) -> None:
        """Take what is better of sentences ``[B, K, length]`` with sums of log-probabilities ``[B, K]``."""
        length = words.shape[2]
        scores, place = (totals / length**self.length_power).max(dim=1)
        chosen = words.gather(1, place[:, None, None].expand(-1, 1, length)).squeeze(1)
        better = scores > self.scores
        self.scores = torch.where(better, scores, self.scores)
        # What comes later is longer, so nothing is left of a former sentence.
        self.words[:, :length] = torch.where(better.unsqueeze(1), chosen, self.words[:, :length])

    def sentences(self, end: int) -> list[Sentence]:
        """As plain values."""
        return [
            Sentence(_until(row, end), score)
            for row, score in zip(self.words.tolist(), self.scores.tolist(), strict=True)
        ]


def _until(words: list[int], end: int) -> tuple[int, ...]:
    return tuple(words[: words.index(end)] if end in words else words)
