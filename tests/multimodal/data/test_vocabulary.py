"""Vocabulary: joins the most frequent neighbours first, and always the same."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from cellseg.multimodal.data.vocabulary import learn_pieces


def plain_pieces(words, size):
    """The same without bookkeeping: all pairs are counted anew before each joining."""
    counts = Counter()
    for word, count in words.items():
        for place, letter in enumerate(word):
            counts[letter if place == 0 else "##" + letter] += count
    letters = sorted(sorted(counts, key=lambda piece: (-counts[piece], piece))[:size])
    pieces = list(letters)
    spelled = {word: [word[0], *("##" + letter for letter in word[1:])] for word in words}
    spelled = {word: spelling for word, spelling in spelled.items() if set(spelling) <= set(letters)}
    while len(pieces) < size:
        pairs = Counter()
        for word, spelling in spelled.items():
            for pair in zip(spelling, spelling[1:], strict=False):
                pairs[pair] += words[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        joined = best[0] + best[1][2:]
        for word, spelling in spelled.items():
            result = []
            while spelling:
                if tuple(spelling[:2]) == best:
                    result.append(joined)
                    spelling = spelling[2:]
                else:
                    result.append(spelling[0])
                    spelling = spelling[1:]
            spelled[word] = result
        if joined not in pieces:
            pieces.append(joined)
    return pieces


def test_an_example_by_hand():
    words = {"low": 5, "lower": 2, "newest": 6}
    # ##w ##e stand side by side 8 times (lower, newest), then l ##o 7 times. Now newest is n ##e ##we ##s ##t with four
    # pairs that occur 6 times, of which (##e, ##we) is the alphabetically first, and then (##ewe, ##s).
    pieces = learn_pieces(words, 12)
    assert pieces[:8] == ["##e", "##o", "##r", "##s", "##t", "##w", "l", "n"]
    assert pieces[8:] == ["##we", "lo", "##ewe", "##ewes"]


@given(st.dictionaries(st.text("abc", min_size=1, max_size=7), st.integers(1, 5), min_size=1, max_size=12))
def test_it_equals_counting_anew(words):
    assert learn_pieces(words, 25) == plain_pieces(words, 25)


def test_the_order_of_words_does_not_matter():
    words = {"red": 2, "bed": 2, "rod": 2, "bid": 2}
    assert learn_pieces(words, 30) == learn_pieces(dict(reversed(words.items())), 30)


def test_rare_letters_are_left_out_where_there_is_no_room():
    assert learn_pieces({"aa": 9, "a": 3, "z": 1}, 2) == ["##a", "a"]


def test_it_ends_when_every_word_is_a_piece():
    assert learn_pieces({"ab": 1}, 100) == ["##b", "a", "ab"]
