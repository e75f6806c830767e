"""BLEU, CIDEr-D, ROUGE-L and METEOR: examples worked out by hand, and the usual package where it is installed."""

import math
import shutil
import sys
from types import ModuleType

import pytest

from cellseg.errors import CellsegError, InputError
from cellseg.multimodal.metrics import bleu, cider_d, meteor, rouge_l

CAT = "the cat sat on the mat"
DOG = "a dog runs in the park"
CANDIDATES = [CAT, DOG, "two red birds fly", "the the the", "park"]
REFERENCES = [
    ["the cat is on the mat", "there is a cat on the mat"],
    ["a dog is running through a park", "dog in the park", "the brown dog runs in a green park today"],
    ["two birds fly over water", "red birds fly"],
    ["the cat", "a cat and a dog sit there"],
    ["a park with trees", "trees in a park"],
]


def words(texts):
    return [text.split() for text in texts]


def all_words(rows):
    return [words(row) for row in rows]


def test_bleu_by_hand():
    # Against both references of the first picture: 5 of 6 words, 3 of 5 pairs, 1 of 4 triples ("on the mat"), 0 of 3.
    found = bleu(words([CAT]), all_words(REFERENCES[:1]))
    assert found[:3] == pytest.approx((5 / 6, math.sqrt(5 / 6 * 3 / 5), (5 / 6 * 3 / 5 * 1 / 4) ** (1 / 3)))
    assert found[3] == 0.0


def test_bleu_counts_a_word_no_more_often_than_a_reference_does():
    # "the the the" against "the cat": 1 of 3; nearest in length is "the cat", which is shorter: no penalty.
    assert bleu(words(["the the the"]), all_words([["the cat"]]))[0] == pytest.approx(1 / 3)
    assert bleu(words(["the the the"]), all_words([["the cat", "the the"]]))[0] == pytest.approx(2 / 3)


def test_bleus_penalty_is_for_the_nearest_length_and_of_two_for_the_shorter():
    # 3 words; references of 5 and 4: 4 is nearer.
    assert bleu(words(["a b c"]), all_words([["a b c d e", "a b c d"]]))[0] == pytest.approx(math.exp(1 - 4 / 3))
    # References of 2 and 4 are equally near: the shorter one counts, no penalty.
    assert bleu(words(["a b c"]), all_words([["a b c d", "a b"]]))[0] == 1.0
    assert bleu(words(["a b c"]), all_words([["a b c d", "a b c e"]]))[0] == pytest.approx(math.exp(1 - 4 / 3))


def test_bleu_adds_up_over_pictures():
    # Words: 3 of 4 and 1 of 2; lengths 4 + 2 against 4 + 5: BP = exp(1 - 9 / 6).
    found = bleu(words(["a b c x", "a y"]), all_words([["a b c d"], ["a b c d e"]]))
    assert found[0] == pytest.approx(math.exp(1 - 9 / 6) * 4 / 6)


def test_empty_and_perfect_captions():
    assert bleu([[]], all_words([["a b"]])) == (0.0,) * 4 and rouge_l([[]], all_words([["a b"]])) == [0.0]
    assert cider_d([[], ["b"]], all_words([["a b"], ["c d"]])) == [0.0, 0.0]
    assert bleu(words([CAT]), all_words([[CAT]])) == (1.0,) * 4
    assert rouge_l(words([CAT]), all_words([[CAT, DOG]])) == pytest.approx([1.0])


def test_rouge_by_hand():
    # Longest common sequence with "a b c d e" of "a c x e": a c e. P = 3/4, R = 3/5.
    expected = (1 + 1.44) * (3 / 4) * (3 / 5) / (3 / 5 + 1.44 * 3 / 4)
    assert rouge_l(words(["a c x e"]), all_words([["a b c d e"]])) == pytest.approx([expected])
    # The best precision and the best recall may come from different references.
    both = rouge_l(words(["a c x e"]), all_words([["a b c d e", "a c"]]))
    best = (1 + 1.44) * (3 / 4) * 1 / (1 + 1.44 * 3 / 4)
    assert both == pytest.approx([best])
    assert rouge_l(words(["x"]), all_words([["a"]])) == [0.0]


def test_cider_by_hand():
    # Two pictures, so log(N / df) is log 2 for what one of them has, and 0 for "a", which both have.
    # First: "a b" equals its reference. n = 1: vectors (0, log 2), cosine 1; n = 2: 1; n = 3, 4: none.
    # Second: "a c d" against "a c": n = 1: (c, d) against (c): 1 / sqrt 2; n = 2: (a c, c d) against (a c): 1 / sqrt 2;
    # one pair more: exp(-1 / 72).
    found = cider_d(words(["a b", "a c d"]), all_words([["a b"], ["a c"]]))
    assert found == pytest.approx([10 * 2 / 4, 10 * (2 / math.sqrt(2)) / 4 * math.exp(-1 / 72)])


def test_cider_gives_nothing_for_repeating_a_word():
    # min(g, s): the second "b" adds to the length of the vector alone. n = 1: 1/2 of what it is worth; pairs: none.
    found = cider_d(words(["b b", "c"]), all_words([["b"], ["c"]]))
    assert found[0] == pytest.approx(10 * (1 / 2) / 4 * math.exp(-1 / 72))


def test_one_picture_alone_has_no_words_of_its_own():
    assert cider_d(words([CAT]), all_words([[CAT]])) == [0.0]


@pytest.mark.parametrize("score", [bleu, cider_d, rouge_l])
def test_pictures_without_references_are_refused(score):
    with pytest.raises(InputError, match="picture 1 has no true caption to compare with"):
        score([["a"]], [[]])


def test_what_the_usual_package_says():
    """Numbers of pycocoevalcap 1.2 for several references and all lengths of n-grams."""
    said = ["the cat is on the mat today", DOG, "two red birds fly over water", "the cat", "a park with green trees"]
    hypotheses, references = words(said), all_words(REFERENCES)
    usual = [0.92307692, 0.86443782, 0.77585848, 0.62814017]
    assert bleu(hypotheses, references) == pytest.approx(usual, abs=1e-8)
    usual = [6.04143319, 2.43557198, 5.19657501, 2.75153929, 2.99467929]
    assert cider_d(hypotheses, references) == pytest.approx(usual, abs=1e-8)
    usual = [0.93606138, 0.82993197, 0.92424242, 1.0, 0.90706320]
    assert rouge_l(hypotheses, references) == pytest.approx(usual, abs=1e-8)


def test_the_usual_package_says_the_same():
    pytest.importorskip("pycocoevalcap")
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    truth = dict(enumerate(REFERENCES))
    said = {index: [text] for index, text in enumerate(CANDIDATES)}
    hypotheses, references = words(CANDIDATES), all_words(REFERENCES)
    usual, _ = Bleu(4).compute_score(truth, said, verbose=0)
    # It adds 1e-15 to counts of 0, which the fourth root makes visible; there is none here up to BLEU-3.
    assert bleu(hypotheses, references)[:3] == pytest.approx(usual[:3], abs=1e-9)
    assert cider_d(hypotheses, references) == pytest.approx(Cider().compute_score(truth, said)[1], abs=1e-12)
    assert rouge_l(hypotheses, references) == pytest.approx(Rouge().compute_score(truth, said)[1], abs=1e-12)


@pytest.mark.skipif(shutil.which("java") is None, reason="METEOR is a Java program")
def test_meteor_by_its_own_program():
    pytest.importorskip("pycocoevalcap")
    perfect = meteor([CAT, DOG], [[CAT], [DOG]])
    assert perfect > 0.99 > meteor([CAT, "a fish swims"], [[CAT], [DOG]]) > 0.1


def test_meteor_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocoevalcap.meteor.meteor", None)
    with pytest.raises(CellsegError) as error:
        meteor([CAT], [[CAT]])
    assert str(error.value) == "METEOR needs the package pycocoevalcap: pip install pycocoevalcap"


def test_meteor_without_java(monkeypatch):
    for name in ("pycocoevalcap", "pycocoevalcap.meteor", "pycocoevalcap.meteor.meteor"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["pycocoevalcap.meteor.meteor"].Meteor = object
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(CellsegError, match="METEOR is a Java program, and there is no java on this machine"):
        meteor([CAT], [[CAT]])
