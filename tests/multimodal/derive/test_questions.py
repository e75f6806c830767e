"""Questions about images: true answers, and none that stands out."""

import random
from collections import Counter, defaultdict
from statistics import median_low

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellseg.multimodal.derive.questions import Question, answer, ask, balance, count_answers


def answers(questions):
    return {(item.kind, item.value): item.answer for item in questions}


def test_answers_follow_from_the_facts(make_facts):
    facts = make_facts(
        count=12, covered=0.3, type_counts={"Big_one": 9, "dot": 3, "thin": 0}, small=0.7, large=0.1, touching=0.45
    )
    asked = ask(facts, ("Big_one", "dot", "thin"))
    expected = {("cell_type", ""): "big one", ("count", ""): "11 to 20", ("confluence", ""): "20 to 40 percent"}
    expected |= {
        ("type_count", name): text for name, text in (("big one", "6 to 10"), ("dot", "2 to 5"), ("thin", "0"))
    }
    expected |= {("has_type", "big one"): "yes", ("has_type", "dot"): "yes", ("has_type", "thin"): "no"}
    expected |= {("more_than", str(n)): "yes" if 12 > n else "no" for n in (5, 10, 20, 50, 100, 200, 500)}
    expected |= {("covers", str(n)): "yes" if 30 >= n else "no" for n in (5, 10, 20, 40, 60, 80)}
    # Touching lies near one half, where nobody could see the answer.
    expected |= {("small", ""): "yes", ("large", ""): "no", ("elongated", ""): "no"}
    assert answers(asked) == expected
    assert all(item.key == "a" and item.text.endswith("?") and item.value in item.text for item in asked)


@pytest.mark.parametrize("types", [(), ("astro",)])
def test_one_type_is_not_asked_for(make_facts, types):
    kinds = {item.kind for item in ask(make_facts(type_counts=dict.fromkeys(types, 12)), types)}
    assert kinds == {"count", "confluence", "more_than", "covers", "elongated"}


def test_nothing_is_asked_about_most_of_no_cells_or_one(make_facts):
    for count in (0, 1):
        kinds = {item.kind for item in ask(make_facts(count=count, type_counts={"a": count, "b": 0}), ("a", "b"))}
        assert not kinds & {"small", "large", "touching", "elongated"}
        assert ("cell_type" in kinds) == (count == 1)
    found = answers(ask(make_facts(count=0), ()))
    assert found["count", ""] == "0" and found["confluence", ""] == "none" and found["covers", "5"] == "no"


def test_an_edge_belongs_to_at_least(make_facts):
    assert answers(ask(make_facts(covered=0.2), ()))["covers", "20"] == "yes"
    assert answers(ask(make_facts(count=50), ()))["more_than", "50"] == "no"
    assert answers(ask(make_facts(count=51), ()))["more_than", "50"] == "yes"


def test_the_seed_changes_phrasings_and_no_answer(make_facts):
    facts = [make_facts(key=str(number), type_counts={"a": 5, "b": 7}) for number in range(30)]
    one, two = ([item for each in facts for item in ask(each, ("a", "b"), seed)] for seed in (1, 2))
    assert [item.answer for item in one] == [item.answer for item in two]
    assert [item.text for item in one] != [item.text for item in two]
    assert len({item.text for item in one if item.kind == "count"}) == 3


def test_answers_to_questions_that_one_would_not_ask(make_facts):
    types = {"Big_one": 3, "dot": 3, "thin": 0}
    tie = make_facts(count=6, type_counts=types, small=0.55, large=0.45, touching=0.5, elongated=None)
    clear = answers(ask(tie, tuple(types)))
    assert not clear.keys() & {("cell_type", ""), ("small", ""), ("large", ""), ("touching", ""), ("elongated", "")}
    assert answer(tie, "cell_type", "") == "big one"
    assert [answer(tie, kind, "") for kind in ("small", "large", "touching", "elongated")] == ["yes", "no", "no", "no"]
    # Other numbers than the usual ones.
    assert [answer(tie, "more_than", value) for value in ("5", "6")] == ["yes", "no"]
    assert [answer(tie, "covers", value) for value in ("30", "31")] == ["yes", "no"]


def test_what_nobody_knows_has_no_answer(make_facts):
    untyped, empty = make_facts(), make_facts(count=0, type_counts={"a": 0})
    assert [answer(untyped, kind, "a") for kind in ("cell_type", "type_count", "has_type")] == [None] * 3
    assert [answer(empty, kind, "a") for kind in ("cell_type", "type_count", "has_type")] == [None, "0", "no"]
    assert answer(make_facts(type_counts={"a": 12}), "has_type", "b") is None
    assert answer(empty, "small", "") == "no" and answer(empty, "confluence", "") == "none"


questions = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from("kl"), st.sampled_from("vw"), st.sampled_from("xyz")),
    unique_by=lambda parts: parts[:3],
    max_size=60,
).map(lambda rows: [Question(str(key), kind, value, f"{kind} {value}?", answer) for key, kind, value, answer in rows])


@given(questions, st.integers(0, 3))
def test_no_answer_occurs_more_often_than_the_median_one(asked, seed):
    kept = balance(asked, seed)
    assert [item for item in asked if item in kept] == kept
    groups = defaultdict(Counter)
    for item in asked:
        groups[item.kind, item.value][item.answer] += 1
    found = Counter((item.kind, item.value, item.answer) for item in kept)
    for group, counts in groups.items():
        most = median_low(counts.values()) if len(counts) > 1 else 0
        assert all(found[(*group, answer)] == min(number, most) for answer, number in counts.items())


@given(questions, st.randoms(use_true_random=False))
def test_what_is_kept_does_not_depend_on_the_order(asked, random_order: random.Random):
    shuffled = list(asked)
    random_order.shuffle(shuffled)
    assert set(balance(shuffled)) == set(balance(asked))


def test_yes_and_no_are_equally_frequent(make_facts):
    facts = [make_facts(key=str(count), count=count, covered=count / 100) for count in range(2, 90, 2)]
    kept = balance([item for each in facts for item in ask(each, ())])
    for value in ("5", "10", "20", "50"):
        counts = Counter(item.answer for item in kept if item.kind == "more_than" and item.value == value)
        assert counts["yes"] == counts["no"] > 0
    assert not any(item.kind == "more_than" and item.value == "100" for item in kept)  # all of them are no


def test_how_balanced_questions_are():
    rows = [("a", "v", "x"), ("b", "v", "y"), ("c", "w", "x"), ("d", "w", "x"), ("e", "w", "y")]
    asked = [Question(key, "k", value, "?", answer) for key, value, answer in rows]
    assert count_answers(asked, asked) == {"k": {"asked": 5, "kept": 5, "answers": 2, "majority": 0.6}}
    assert count_answers(asked, []) == {"k": {"asked": 5, "kept": 0, "answers": 0, "majority": 0.0}}
