"""Greedy and beam search against plain Python and against all sentences that there are."""

import itertools
import math
from functools import cache

import pytest
import torch

from cellseg.multimodal.decoding import Sentence, beam_search, greedy_search

BEGIN, END, WORDS = 0, 1, 5


@cache
def likely(language, prefix):
    """Log-probabilities of the next word after a prefix; every language has others. ``BEGIN`` is never written."""
    generator = torch.Generator().manual_seed(hash((language, *prefix)) % 2**31)
    scores = 2 * torch.randn(WORDS, generator=generator)
    scores[BEGIN] = -torch.inf
    return scores.log_softmax(0)


def step(words, state):
    """A word model whose state is the language and the words so far; padded to the longest, as caches are."""
    languages, prefixes = state
    prefixes = torch.cat([prefixes, words.unsqueeze(1)], dim=1)
    rows = [
        likely(language, tuple(prefix)) for language, prefix in zip(languages.tolist(), prefixes.tolist(), strict=True)
    ]
    return torch.stack(rows), (languages, prefixes)


def start(languages, beam=1):
    languages = torch.tensor(languages, dtype=torch.long).repeat_interleave(beam)
    return languages, torch.zeros(len(languages), 0, dtype=torch.long)


def first(languages):
    return torch.full((len(languages),), BEGIN, dtype=torch.long)


def search(languages, beam, max_length=4, length_power=0.7):
    rules = dict(end=END, max_length=max_length, length_power=length_power)
    return beam_search(step, start(languages, beam), first(languages), beam=beam, **rules)


def total_of(language, words):
    prefix, total = (BEGIN,), 0.0
    for word in words:
        total += likely(language, prefix)[word].item()
        prefix += (word,)
    return total


def all_sentences(language, max_length, length_power):
    """Every complete sentence, and every one that is cut off, with its score."""
    inner = [word for word in range(WORDS) if word not in (BEGIN, END)]
    for length in range(max_length + 1):
        for words in itertools.product(inner, repeat=length):
            written = words if length == max_length else (*words, END)
            yield Sentence(words, total_of(language, written) / len(written) ** length_power)


def plain_beam(language, beam, max_length, length_power):
    """The rules of the search in plain Python, for one sample."""
    live, complete = [(0.0, ())], []
    for length in range(1, max_length + 1):
        candidates = []
        for total, words in live:
            after = likely(language, (BEGIN, *words)).tolist()
            candidates += [(total + after[word], (*words, word)) for word in range(WORDS) if word != BEGIN]
        candidates.sort(key=lambda each: -each[0])
        kept = candidates[:beam]
        complete += [Sentence(words[:-1], total / length**length_power) for total, words in kept if words[-1] == END]
        live = [each for each in kept if each[1][-1] != END]
    complete += [Sentence(words, total / max_length**length_power) for total, words in live]
    return max(complete, key=lambda sentence: sentence.score)


def same(found, expected):
    assert found.tokens == expected.tokens
    assert found.score == pytest.approx(expected.score, abs=1e-5)


@pytest.mark.parametrize("length_power", [0.0, 0.7, 1.0, 1.5])
@pytest.mark.parametrize("language", range(6))
def test_a_wide_beam_finds_the_best_of_all_sentences(language, length_power):
    best = max(all_sentences(language, 4, length_power), key=lambda sentence: sentence.score)
    same(search([language], beam=4**4, length_power=length_power)[0], best)


@pytest.mark.parametrize("beam", [1, 2, 3, 7])
@pytest.mark.parametrize("length_power", [0.0, 1.0])
def test_beams_follow_the_rules(beam, length_power):
    languages = list(range(20))
    found = search(languages, beam, max_length=6, length_power=length_power)
    for language, sentence in zip(languages, found, strict=True):
        same(sentence, plain_beam(language, beam, 6, length_power))


def test_beams_matter():
    """What the other tests compare does differ: by the width of the beam, and by the length normalisation."""
    languages = list(range(20))
    assert search(languages, 1) != search(languages, 3)
    short, long = (
        sum(len(sentence.tokens) for sentence in search(languages, 5, 6, length_power=power)) for power in (0.0, 1.0)
    )
    assert short < long


def test_a_beam_of_one_is_greedy():
    languages = list(range(30))
    rules = dict(end=END, max_length=5, length_power=0.7)
    greedy = greedy_search(step, start(languages), first(languages), **rules)
    for one, other in zip(search(languages, 1, max_length=5), greedy, strict=True):
        same(one, other)
    lengths = {len(sentence.tokens) for sentence in greedy}
    assert len(lengths) > 2  # sentences of a batch end at different words


def test_greedy_takes_the_likeliest_word():
    for language in range(10):
        words = ()
        while END not in words and len(words) < 5:
            words += (likely(language, (BEGIN, *words)).argmax().item(),)
        score = total_of(language, words) / len(words) ** 0.7
        (found,) = greedy_search(step, start([language]), first([language]), end=END, max_length=5)
        same(found, Sentence(tuple(word for word in words if word != END), score))


@pytest.mark.parametrize("beam", [1, 4])
def test_a_batch_gives_what_its_rows_give(beam):
    languages = [3, 3, 9, 0, 17, 11]
    together = search(languages, beam, max_length=6)
    for language, sentence in zip(languages, together, strict=True):
        same(sentence, search([language], beam, max_length=6)[0])


def test_an_empty_batch_has_no_sentences():
    assert search([], beam=3) == []
    assert greedy_search(step, start([]), first([]), end=END, max_length=3) == []


def test_an_unlikely_end_does_not_stop_the_search():
    """At every word the second best is to end; the best sentence still is the long one."""
    sentence = [2, 3, 4, 2, 3, END]

    def certain(words, state):
        (places,) = state
        scores = torch.full((len(words), WORDS), -20.0)
        scores[:, END] = -5.0
        scores[torch.arange(len(words)), torch.tensor(sentence)[places]] = -0.01
        return scores, (places + 1,)

    for beam in (1, 2, 5):
        places = torch.zeros(beam, dtype=torch.long)
        (found,) = beam_search(certain, (places,), first([0]), end=END, max_length=6, beam=beam)
        assert found.tokens == (2, 3, 4, 2, 3)


def test_a_cut_sentence_has_no_end():
    def never_ends(words, state):
        scores = torch.full((len(words), 4), math.log(1 / 3))
        scores[:, END] = -torch.inf
        return scores, state

    for found in (
        beam_search(never_ends, (), first([0]), end=END, max_length=3, beam=2, length_power=1.0),
        greedy_search(never_ends, (), first([0]), end=END, max_length=3, length_power=1.0),
    ):
        assert len(found[0].tokens) == 3 and END not in found[0].tokens
        assert found[0].score == pytest.approx(math.log(1 / 3))


def test_a_beam_wider_than_the_vocabulary_has_no_impossible_sentences():
    def one_word(words, state):
        scores = torch.full((len(words), 3), -torch.inf)
        scores[torch.arange(len(words)), torch.where(words == 2, END, 2)] = 0.0
        return scores, state

    (found,) = beam_search(one_word, (), first([0]), end=END, max_length=5, beam=6)
    assert found == Sentence((2,), 0.0)
