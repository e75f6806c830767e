"""Which pieces of words a vocabulary holds, learned from texts; equal texts give equal vocabularies."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping

CONTINUED = "##"  # stands before a piece that goes on within a word
Pair = tuple[str, str]


def learn_pieces(words: Mapping[str, int], size: int) -> list[str]:
    """Pieces by byte-pair encoding (Sennrich et al. 2016), in the form of WordPiece.

    It starts from single letters, and joins again and again the two pieces that stand side by side most often; of
    equally frequent pairs the alphabetically first. The trainer of the package ``tokenizers`` does the same, but
    decides between equally frequent pairs by the order of a hash table, so that every run gives another vocabulary.

    Args:
        words: how often each word occurs.
        size: most pieces; where there are more letters than that, the rarest are left out.

    Returns:
        Letters first, alphabetically, then pieces in the order of joining.
    """
    letters = _letters(words, size)
    known = set(letters)
    spelled = [(pieces, count) for word, count in sorted(words.items()) if known.issuperset(pieces := _spell(word))]
    pieces = list(letters)
    table = _PairTable(spelled)
    while len(pieces) < size and (pair := table.most_frequent()) is not None:
        joined = table.join(pair)
        # Should two ways of joining lead to one piece, it still stands there once.
        if joined not in known:
            known.add(joined)
            pieces.append(joined)
    return pieces


def _spell(word: str) -> list[str]:
    return [letter if place == 0 else CONTINUED + letter for place, letter in enumerate(word)]


def _letters(words: Mapping[str, int], size: int) -> list[str]:
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for piece in _spell(word):
            counts[piece] += count
    return sorted(sorted(counts, key=lambda piece: (-counts[piece], piece))[:size])


class _PairTable:
    """Counts of neighbouring pieces, kept up to date while pairs are joined.

    Args:
        spelled: words as pieces, with how often each occurs.
    """

    def __init__(self, spelled: list[tuple[list[str], int]]):
        self.spelled = [pieces for pieces, _ in spelled]
        self.frequency = [count for _, count in spelled]
        self.counts: Counter[Pair] = Counter()
        self.places: dict[Pair, set[int]] = defaultdict(set)
        for index in range(len(self.spelled)):
            self._count(index, 1)
        self.queue = [(-count, pair) for pair, count in self.counts.items()]
        heapq.heapify(self.queue)

    def most_frequent(self) -> Pair | None:
        """The most frequent pair, of several the alphabetically first; None where no two pieces are left."""
        while self.queue:
            count, pair = heapq.heappop(self.queue)
            # What was queued before its count changed is out of date; the newer entry follows.
            if self.counts.get(pair, 0) == -count and count:
                return pair
        return None

    def join(self, pair: Pair) -> str:
        """Join a pair everywhere; gives the new piece."""
        joined = pair[0] + pair[1].removeprefix(CONTINUED)
        changed: set[Pair] = set()
        for index in sorted(self.places.pop(pair)):
            changed |= self._count(index, -1)
            self.spelled[index] = _join(self.spelled[index], pair, joined)
            changed |= self._count(index, 1)
        for other in changed:
            if self.counts[other] > 0:
                heapq.heappush(self.queue, (-self.counts[other], other))
            else:
                del self.counts[other]
        return joined

    def _count(self, index: int, sign: int) -> set[Pair]:
        pieces = self.spelled[index]
        pairs = list(zip(pieces, pieces[1:], strict=False))
        for pair in pairs:
            self.counts[pair] += sign * self.frequency[index]
            if sign > 0:
                self.places[pair].add(index)
            else:
                self.places[pair].discard(index)
        return set(pairs)


def _join(pieces: list[str], pair: Pair, joined: str) -> list[str]:
    result: list[str] = []
    place = 0
    while place < len(pieces):
        if tuple(pieces[place : place + 2]) == pair:
            result.append(joined)
            place += 2
        else:
            result.append(pieces[place])
            place += 1
    return result
