"""Active selection: against a plain loop, and that uncertainty, likeness, modalities and classes count as said."""

import math
from collections import Counter

import pytest
import torch

from cellseg.errors import InputError
from cellseg.multimodal.selection import select_samples, squared_distances, uncertainty

NAN = math.nan


def make(seed=0, rows=12, classes=3, missing=True):
    generator = torch.Generator().manual_seed(seed)
    probabilities, features = {}, {}
    for name, width, scale in (("image", 4, 100.0), ("text", 2, 0.01)):
        probabilities[name] = (2 * torch.randn(rows, classes, generator=generator)).softmax(dim=1)
        features[name] = scale * torch.randn(rows, width, generator=generator) + 3
    if missing:
        probabilities["text"][:3] = NAN
        features["text"][1:4] = NAN
        features["image"][3] = NAN
    return [f"id{row}" for row in range(rows)], probabilities, features


def plain(ids, probabilities, features, count, annotated, class_counts, seed):
    """The documented rule, number by number."""
    rows = range(len(ids))
    known = {name: [None if math.isnan(row[0]) else row for row in p.tolist()] for name, p in probabilities.items()}
    entropy = {m: [r and -sum(v * math.log(v) for v in r if v) for r in known[m]] for m in known}
    mean = {m: sum(v for v in entropy[m] if v is not None) / sum(v is not None for v in entropy[m]) for m in known}
    own = [[m for m in known if known[m][i] is not None] for i in rows]
    unsure = [sum(entropy[m][i] / mean[m] for m in own[i]) / len(own[i]) for i in rows]
    expected = [
        [sum(column) / len(own[i]) for column in zip(*(known[m][i] for m in own[i]), strict=True)] for i in rows
    ]
    spots = {m: [None if math.isnan(row[0]) else row for row in f.tolist()] for m, f in features.items()}
    scale = {}
    for m, values in spots.items():
        there = [row for row in values if row is not None]
        centre = [sum(column) / len(there) for column in zip(*there, strict=True)]
        scale[m] = sum((v - c) ** 2 for row in there for v, c in zip(row, centre, strict=True)) / len(there)

    def distance(one, other):
        shared = [
            sum((a - b) ** 2 for a, b in zip(one[m], other[m], strict=True)) / scale[m]
            for m in spots
            if one[m] is not None and other[m] is not None
        ]
        return sum(shared) / len(shared) if shared else 2.0

    at = [{m: spots[m][i] for m in spots} for i in rows]
    taken = (
        []
        if annotated is None
        else [
            dict(zip(annotated, values, strict=True))
            for values in zip(*(a.tolist() for a in annotated.values()), strict=True)
        ]
    )
    counts, drawn = list(class_counts), []
    generator = torch.Generator().manual_seed(seed)
    for chance in torch.rand(count, generator=generator, dtype=torch.float64).tolist():
        score = []
        for i in rows:
            near = min((distance(at[i], other) for other in taken), default=2.0)
            need = sum(q / (1 + n) for q, n in zip(expected[i], counts, strict=True))
            score.append(0.0 if i in drawn else unsure[i] * near * need)
        reached, place = 0.0, -1
        while reached <= chance * sum(score):
            place += 1
            reached += score[place]
        drawn.append(place)
        taken.append(at[place])
        counts = [n + q for n, q in zip(counts, expected[place], strict=True)]
    return [ids[i] for i in drawn]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("with_annotated", [False, True])
def test_it_draws_what_a_plain_loop_draws(seed, with_annotated):
    ids, probabilities, features = make(seed)
    annotated = {name: values[5:9] + 1 for name, values in features.items()} if with_annotated else None
    found = select_samples(ids, probabilities, features, 7, annotated, [5, 0, 1], seed)
    assert found == plain(ids, probabilities, features, 7, annotated, [5, 0, 1], seed)
    assert len(set(found)) == 7


def test_equal_seeds_draw_equal_samples_and_others_do_not():
    given = make(missing=False)
    drawn = [tuple(select_samples(*given, 5, seed=seed)) for seed in (0, 0, 1, 2)]
    assert drawn[0] == drawn[1] and len(set(drawn)) > 1


def test_what_is_sure_or_known_is_drawn_last():
    ids, probabilities, features = make(rows=8, missing=False)
    for values in probabilities.values():
        values[0] = torch.tensor([1.0, 0.0, 0.0])
    # A copy of a candidate, and one of what is annotated.
    for values in features.values():
        values[2] = values[1]
    annotated = {name: values[[3]] for name, values in features.items()}
    for seed in range(20):
        found = select_samples(ids, probabilities, features, 8, annotated, seed=seed)
        # Of the two that are alike, the second is worth nothing; so are the sure one and the known one.
        assert {"id0", "id3"} < set(found[5:]) and len({"id1", "id2"} & set(found[5:])) == 1


def test_an_empty_table_of_annotated_samples_is_none():
    given = make()
    empty = {name: values[:0] for name, values in given[2].items()}
    assert select_samples(*given, 4, empty) == select_samples(*given, 4)


@pytest.mark.parametrize("change", [{"image": 2.0**-12, "text": 1.0}, {"image": 1.0, "text": 2.0**14}])
def test_units_of_features_do_not_matter(change):
    # Powers of two: nothing is rounded.
    ids, probabilities, features = make()
    other = {name: values * change[name] for name, values in features.items()}
    torch.testing.assert_close(squared_distances(features, features), squared_distances(other, other))
    assert select_samples(ids, probabilities, features, 6) == select_samples(ids, probabilities, other, 6)


def test_random_samples_lie_two_apart():
    features = {"image": torch.randn(400, 5, generator=torch.Generator().manual_seed(1))}
    assert float(squared_distances(features, features).mean()) == pytest.approx(2.0, abs=1e-4)
    same = {"image": torch.ones(3, 2)}
    assert squared_distances(same, same).eq(0).all()


def test_each_modality_has_the_same_say_in_what_is_unsure():
    # The first modality is nearly sure of everything, the second of nothing.
    sure = torch.tensor([[0.99, 0.01], [0.98, 0.02]])
    unsure = torch.tensor([[0.5, 0.5], [0.6, 0.4]])
    found = uncertainty({"image": sure, "text": unsure})
    alone = [uncertainty({"image": sure}), uncertainty({"text": unsure})]
    torch.testing.assert_close(found, (alone[0] + alone[1]) / 2)
    # Together they say what each says by itself, relative to its own mean: the first one is not drowned.
    assert alone[0][1] > alone[0][0] and alone[1][0] > alone[1][1] and found[1] > found[0]
    assert uncertainty({"image": torch.eye(2)}).tolist() == [0, 0]


def test_rare_classes_are_preferred():
    rows = 40
    probabilities = torch.tensor([[0.8, 0.2], [0.2, 0.8]]).repeat(rows // 2, 1)
    features = {"image": torch.randn(rows, 3, generator=torch.Generator().manual_seed(0))}
    ids = [f"{row % 2}-{row}" for row in range(rows)]

    def share(counts):
        drawn = [
            name
            for seed in range(60)
            for name in select_samples(ids, {"image": probabilities}, features, 4, None, counts, seed)
        ]
        return Counter(name[0] for name in drawn)["1"] / len(drawn)

    assert share([0, 0]) == pytest.approx(0.5, abs=0.1)
    assert share([1000, 0]) > 0.65 and share([0, 1000]) < 0.35


def test_all_are_drawn_once_where_nothing_tells_them_apart():
    ids = list("abcdef")
    same = {"image": torch.full((6, 2), 0.5)}, {"image": torch.zeros(6, 3)}
    orders = {tuple(select_samples(ids, *same, 6, seed=seed)) for seed in range(5)}
    assert len(orders) > 1 and all(sorted(order) == ids for order in orders)


HALF = torch.full((2, 2), 0.5)
GOOD = dict(ids=["a", "b"], probabilities={"image": HALF}, features={"image": torch.eye(2)}, count=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(ids=["a", "a"]), "ids: 'a' stands there twice; give every candidate once"),
        (dict(count=3), "count: expected 1 to 2, the number of candidates, found 3"),
        (dict(count=True), "count: expected 1 to 2, the number of candidates, found True"),
        (dict(probabilities={}), "probabilities: expected those of one modality at least"),
        (dict(features={}), "features: expected those of one modality at least"),
        (
            dict(probabilities={"image": HALF[:1]}),
            "probabilities.image: expected a float tensor of 2 rows and two dimensions, found torch.float32 [1, 2]",
        ),
        (
            dict(features={"image": [[0.0]]}),
            "features.image: expected a float tensor of 2 rows and two dimensions, found list",
        ),
        (
            dict(features={"image": torch.tensor([[0.0, 1.0], [NAN, 1.0]])}),
            "features.image: row 1 holds numbers that are not finite; NaN fills a row",
        ),
        (
            dict(probabilities={"image": HALF, "text": torch.full((2, 4), 0.25)}),
            "probabilities: expected the same 2 classes or more for all, found [2, 4]",
        ),
        (
            dict(probabilities={"image": HALF * 2}),
            "probabilities.image: those of 'a' are below 0 or do not sum to 1",
        ),
        (
            dict(probabilities={"image": torch.tensor([[0.5, 0.5], [NAN, NAN]])}),
            "probabilities: 'b' has none; leave it out",
        ),
        (dict(annotated={"text": HALF}), "annotated: expected the modalities image, found text"),
        (dict(annotated={"image": torch.zeros(1, 3)}), "annotated.image: expected 2 features, found 3"),
        (dict(class_counts=[1]), "class_counts: expected 2 numbers of at least 0, found [1]"),
        (dict(class_counts=[1, -1]), "class_counts: expected 2 numbers of at least 0, found [1, -1]"),
    ],
)
def test_mistakes_are_named(change, message):
    assert select_samples(**GOOD)
    with pytest.raises(InputError) as error:
        select_samples(**{**GOOD, **change})
    assert str(error.value) == message
