"""Pairs for matching: true texts, and the same with one visible fact changed."""

from collections import Counter
from dataclasses import asdict

import pytest

from cellseg.multimodal.derive.pairs import make_pairs
from cellseg.multimodal.derive.phrases import count_range, cover_range, parse_caption, slots_of

TYPES = ("a", "b")


@pytest.fixture
def images(make_facts):
    sizes = [(2, 0.02), (4, 0.04), (9, 0.1), (15, 0.3), (30, 0.25), (48, 0.5), (60, 0.7), (150, 0.85), (1, 0.01)]
    return {
        f"i{place}": make_facts(
            key=f"i{place}",
            count=count,
            covered=covered,
            type_counts={"a": count * (place % 2), "b": count - count * (place % 2)},
        )
        for place, (count, covered) in enumerate(sizes)
    }


def read(pairs):
    """Fact, image, and what the true and the false text say, of each two pairs."""
    for true, false in zip(pairs[::2], pairs[1::2], strict=True):
        assert (true.key, true.fact, true.label, false.label) == (false.key, false.fact, 1, 0)
        yield true.fact, true.key, parse_caption(true.text, TYPES), parse_caption(false.text, TYPES)


def test_a_false_text_differs_in_one_fact_that_can_be_seen(images):
    found = Counter()
    for fact, key, true, false in read(make_pairs(images)):
        facts, said = images[key], slots_of(images[key])
        assert (true.count, true.cell_type, true.confluence) == (said.count, said.cell_type, said.confluence)
        changed = [name for name, value in asdict(true).items() if value != getattr(false, name)]
        assert changed == [fact]
        value = getattr(false, fact)
        assert value in {getattr(slots_of(other), fact) for other in images.values()}
        if fact == "count":
            low, high = count_range(value)
            nearest = low if facts.count < low else high
            assert abs(facts.count - nearest) >= max(facts.count, nearest if facts.count < low else 0) / 2
        elif fact == "confluence":
            low, high = cover_range(value)
            assert not low - 10 < 100 * facts.confluence < high + 10
        found[fact] += 1
    assert found["cell_type"] == len(images) and found["count"] == len(images) and found["confluence"] == len(images)


def test_as_many_true_as_false_texts_of_each_image(images):
    pairs = make_pairs(images)
    assert Counter((pair.key, pair.label) for pair in pairs) == {
        (key, label): sum(pair.key == key for pair in pairs) // 2 for key in images for label in (0, 1)
    }
    assert make_pairs(images) == pairs and make_pairs(images, seed=1) != pairs


def test_images_without_cells_get_the_text_of_another_and_give_theirs(images, make_facts):
    empty = make_facts(key="empty", count=0, type_counts={"a": 0, "b": 0})
    pairs = make_pairs({**images, "empty": empty})
    about = [item for item in read(pairs) if item[0] == "cells"]
    assert [key for _, key, _, _ in about][0] == "empty" and len(about) == 2
    (_, _, nothing, something), (_, partner, own, none) = about
    assert nothing.count == none.count == 0 and something == own
    assert own.count == slots_of(images[partner]).count
    # No text about other facts says that there are no cells.
    assert all(false.count and true.count for fact, _, true, false in read(pairs) if fact != "cells")


def test_images_that_are_all_alike_have_no_false_text(make_facts):
    assert make_pairs({key: make_facts(key=key) for key in "xyz"}) == []
    assert make_pairs({key: make_facts(key=key, count=0) for key in "xyz"}) == []
    assert make_pairs({}) == []


def test_equally_frequent_types_are_not_contradicted(images, make_facts):
    tie = make_facts(key="tie", count=10, type_counts={"a": 5, "b": 5})
    assert not any(pair.key == "tie" and pair.fact == "cell_type" for pair in make_pairs({**images, "tie": tie}))
