"""Comparisons of several folds and seeds, pooled."""

import json
from pathlib import Path

import numpy as np
import pytest

from cellseg.ensemble.comparison.pooling import BEST_SINGLE, pool_comparisons, pool_ensembles
from cellseg.ensemble.comparison.pooling_report import plot_pool, pool_json, pool_table
from cellseg.errors import InputError

ROWS = (("one", "member"), ("two", "member"), ("uniform", "variant"), ("ensemble", "ensemble"))


def make(seed, images=6, first=0, validation=(0.3, 0.4, None, 0.5)):
    """A comparison of images ``first ..``, two in each group, of two types by turns, with random scores."""
    rng = np.random.default_rng(seed)
    names = [f"image{number}" for number in range(first, first + images)]
    rows = []
    for (name, kind), known in zip(ROWS, validation, strict=True):
        scores = {key: rng.random(images).tolist() for key in ("per_image", "per_image_ap50", "per_image_ap75")}
        rows.append(dict(name=name, kind=kind, validation=known, **scores))
    return dict(
        split="test",
        images=names,
        groups=[f"group{number // 2}" for number in range(first, first + images)],
        cell_types=[("astro", "cort")[number % 2] for number in range(first, first + images)],
        rows=rows,
    )


@pytest.fixture
def pool(tmp_path, monkeypatch):
    """Writes comparisons as ``0.json``, ``1.json`` ... and pools them."""
    monkeypatch.chdir(tmp_path)

    def call(*comparisons):
        for number, content in enumerate(comparisons):
            Path(f"{number}.json").write_text(json.dumps(content))
        return pool_comparisons([f"{number}.json" for number in range(len(comparisons))])

    return call


def scores(content, name, key="per_image"):
    (row,) = (row for row in content["rows"] if row["name"] == name)
    return dict(zip(content["images"], row[key], strict=True))


def plain_intervals(values, group_of, samples=2000):
    """Percentiles by the book: draw groups, take all their images with all their seeds, average.

    ``values`` holds a score for each (image, seed), ``group_of`` the group of each image.
    """
    groups = list(dict.fromkeys(group_of.values()))
    generator = np.random.default_rng(0)
    means = []
    for _ in range(samples):
        drawn = [groups[number] for number in generator.integers(len(groups), size=len(groups))]
        pile = [value for group in drawn for (image, _), value in values.items() if group_of[image] == group]
        means.append(np.mean(pile))
    return np.percentile(means, [2.5, 97.5])


@pytest.fixture
def two_folds_two_seeds():
    return make(0), make(1), make(2, images=3, first=6), make(3, images=3, first=6)


def test_means_over_seeds_then_images(pool, two_folds_two_seeds):
    pooled = pool(*two_folds_two_seeds)
    assert (pooled.images, pooled.groups, pooled.folds, pooled.seeds, pooled.split) == (9, 5, 2, 2, "test")
    first, second = two_folds_two_seeds[::2], two_folds_two_seeds[1::2]
    for name, _ in ROWS:
        row = next(row for row in pooled.rows if row.name == name)
        for attribute, key in (("map", "per_image"), ("ap50", "per_image_ap50"), ("ap75", "per_image_ap75")):
            means = []
            for a, b in zip(first, second, strict=True):
                means += [np.mean([scores(one, name, key)[image] for one in (a, b)]) for image in a["images"]]
            assert getattr(row, attribute) == pytest.approx(np.mean(means))
        by_seed = [
            np.mean([value for content in seed for value in scores(content, name).values()]) for seed in (first, second)
        ]
        assert row.per_seed == pytest.approx(by_seed)
        assert row.spread == pytest.approx(abs(by_seed[0] - by_seed[1]) / 2**0.5)
    astro = [scores(content, "one")[f"image{n}"] for content in two_folds_two_seeds[:2] for n in (0, 2, 4)]
    astro += [scores(content, "one")[f"image{n}"] for content in two_folds_two_seeds[2:] for n in (6, 8)]
    assert pooled.rows[0].per_type["astro"] == pytest.approx(np.mean(astro))


@pytest.mark.parametrize("name", ["one", "uniform", BEST_SINGLE])
def test_intervals_are_those_of_the_plain_bootstrap(pool, two_folds_two_seeds, name):
    pooled = pool(*two_folds_two_seeds)
    group_of, values, differences = {}, {}, {}
    for seed, content in zip((0, 1, 0, 1), two_folds_two_seeds, strict=True):
        group_of |= dict(zip(content["images"], content["groups"], strict=True))
        own = scores(content, "two" if name == BEST_SINGLE else name)
        for image, best in scores(content, "ensemble").items():
            values[image, seed], differences[image, seed] = own[image], best - own[image]
    row = next(row for row in pooled.rows if row.name == name)
    assert row.interval == pytest.approx(plain_intervals(values, group_of), abs=1e-12)
    assert row.difference == pytest.approx(np.mean(list(differences.values())))
    assert row.difference_interval == pytest.approx(plain_intervals(differences, group_of), abs=1e-12)


def test_the_ensemble_is_not_compared_with_itself(pool, two_folds_two_seeds):
    row = next(row for row in pool(*two_folds_two_seeds).rows if row.name == "ensemble")
    assert (row.difference, row.difference_interval, row.chosen) == (None, None, None)


def test_the_best_single_member_is_chosen_by_validation_in_each_comparison(pool):
    contents = [make(0, validation=(0.9, 0.4, 0.95, 0.99)), make(1, validation=(0.2, 0.4, None, None))]
    # By what they score here, the choice would be the other way round.
    for content, better in zip(contents, ("two", "one"), strict=True):
        for row in content["rows"]:
            row["per_image"] = [0.8 if row["name"] == better else 0.4] * 6
    best = pool(*contents).rows[-1]
    assert (best.name, best.chosen) == (BEST_SINGLE, ("one", "two"))
    assert best.map == pytest.approx(0.4) and best.difference == pytest.approx(0)


def test_of_equally_good_members_the_first_counts(pool):
    assert pool(make(0, validation=(0.4, 0.4, None, None))).rows[-1].chosen == ("one",)


@pytest.mark.parametrize("validation", [(None, 0.4, None, None), (None, None, 0.5, 0.5)])
def test_without_validation_scores_no_member_is_chosen(pool, validation):
    assert [row.name for row in pool(make(0), make(1, validation=validation)).rows] == [name for name, _ in ROWS]


def test_the_order_of_images_does_not_matter(pool):
    plain = pool(make(0), make(1))
    turned = make(1)
    turned["images"].reverse()
    turned["groups"].reverse()
    turned["cell_types"].reverse()
    for row in turned["rows"]:
        for key in ("per_image", "per_image_ap50", "per_image_ap75"):
            row[key].reverse()
    assert pool(make(0), turned).rows == plain.rows


def test_one_seed_has_no_spread_and_one_group_no_interval(pool):
    content = make(0, images=2)
    pooled = pool(content)
    assert pooled.seeds == 1 and all(row.spread is None for row in pooled.rows)
    assert all(row.interval is None and row.difference_interval is None for row in pooled.rows)
    line = next(line for line in pool_table(pooled).splitlines() if line.startswith("| one |"))
    assert line.split("|")[2:4] == [f" {pooled.rows[0].map:.3f} ", "  "]
    assert line.endswith(f"| {pooled.rows[0].difference:+.3f} |")


def test_table_values_and_plot(pool, two_folds_two_seeds, tmp_path):
    pooled = pool(*two_folds_two_seeds)
    lines = pool_table(pooled).splitlines()
    assert lines[0] == (
        "|  | mAP [95% interval] | over seeds | AP50 | AP75 | astro | cort | ensemble minus this [95% interval] |"
    )
    one = pooled.rows[0]
    assert lines[2] == (
        f"| one | {one.map:.3f} [{one.interval[0]:.3f}, {one.interval[1]:.3f}] | ± {one.spread:.3f} | {one.ap50:.3f} | "
        f"{one.ap75:.3f} | {one.per_type['astro']:.3f} | {one.per_type['cort']:.3f} | {one.difference:+.3f} "
        f"[{one.difference_interval[0]:+.3f}, {one.difference_interval[1]:+.3f}] |"
    )
    assert lines[5].startswith("| ensemble |") and lines[5].endswith("|  |")
    assert lines[-2:] == [
        "9 images of 5 groups in 2 sets of images, seeds of each: 2.",
        "Best single member by the score on the tuning images: two in 4 of 4.",
    ]
    plain = json.loads(json.dumps(pool_json(pooled)))
    assert [row["name"] for row in plain["rows"]] == [*(name for name, _ in ROWS), BEST_SINGLE]
    assert plain["rows"][0]["difference_interval"] == list(one.difference_interval)
    assert plain["rows"][-1]["chosen"] == ["two"] * 4
    assert [entry["file"] for entry in plain["comparisons"]] == ["0.json", "1.json", "2.json", "3.json"]
    assert str(tmp_path) not in json.dumps(plain)
    plot_pool(pooled, tmp_path / "pooled.png")
    assert (tmp_path / "pooled.png").stat().st_size > 1000


def changed(**values):
    return {**make(1), **values}


def without(key):
    return {name: value for name, value in make(1).items() if name != key}


def with_row(number, **values):
    content = make(1)
    content["rows"][number] |= values
    return content


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ([make(0), make(0)], "1.json: the same comparison as 0.json; give each one once"),
        ([make(0), changed(split="val")], "1.json: of the split 'val', 0.json of 'test'; pool one split"),
        (
            [make(0), with_row(2, name="vote")],
            "1.json: its rows are one, two, vote, ensemble; 0.json has one, two, uniform, ensemble; pool "
            "comparisons of one ensemble config, made with the same options",
        ),
        (
            [make(0), with_row(0, kind="variant")],
            "1.json: its rows are one, two, uniform, ensemble; 0.json has one, two, uniform, ensemble; pool",
        ),
        (
            [make(0), make(1, first=4)],
            "1.json: shares 2 of its 6 images with 0.json (image4, for example); pool comparisons of the same images",
        ),
        (
            [make(0), make(1), make(2, first=6)],
            "2.json: 1 comparison of its images, but 2 comparisons of the images of 0.json; give every fold the same",
        ),
        (
            [make(0), changed(groups=["x"] * 6)],
            "1.json: image image0: other groups than in 0.json; prepare the data once and compare on that",
        ),
        ([make(0), changed(cell_types=["x"] * 6)], "1.json: image image0: other cell types than in 0.json; prepare"),
        ([[]], "0.json: not a comparison; write it anew with tools/compare.py"),
        ([{"rows": []}], "0.json: not a comparison; write it anew"),
        ([without("groups")], "0.json: groups: expected a list of texts; write it anew with tools/compare.py"),
        ([changed(groups=["x"])], "0.json: groups: 1 for 6 images; write it anew"),
        ([changed(images=["x"] * 6)], "0.json: images: expected different names, at least one; write it anew"),
        ([without("split")], "0.json: split: expected a text, found None; write it anew"),
        ([changed(rows=[])], "0.json: rows: expected different names with the ensemble last, found []; write"),
        ([with_row(3, kind="member")], "0.json: rows: expected different names with the ensemble last, found ['one',"),
        ([with_row(0, name="two")], "0.json: rows: expected different names with the ensemble last, found ['two',"),
        ([with_row(0, kind="x")], "0.json: rows[0]: expected an object with a name and a kind (member, variant, vote,"),
        ([with_row(1, per_image=[0.1])], "0.json: rows[1].per_image: expected a score for each of 6 images, found 1"),
        (
            [with_row(1, per_image_ap75=None)],
            "0.json: rows[1].per_image_ap75: expected a score for each of 6 images, f",
        ),
        ([with_row(1, per_image=[2.0] * 6)], "0.json: rows[1].per_image: expected numbers from 0 to 1, found 2.0"),
        (
            [with_row(1, per_image=[float("nan")] * 6)],
            "0.json: rows[1].per_image: expected numbers from 0 to 1, found n",
        ),
        ([with_row(1, validation="x")], "0.json: rows[1].validation: expected numbers from 0 to 1, found 'x'; write"),
    ],
)
def test_what_cannot_be_pooled_is_named(pool, contents, message):
    with pytest.raises(InputError) as error:
        pool(*contents)
    assert str(error.value).startswith(message)


def test_no_comparisons():
    with pytest.raises(InputError, match="^no comparisons to pool$"):
        pool_comparisons([])


@pytest.fixture
def pool_named(tmp_path, monkeypatch):
    """Writes comparisons as ``NAME0.json``, ``NAME1.json`` ... and pools the ensembles."""
    monkeypatch.chdir(tmp_path)

    def call(**ensembles):
        named = [(name, f"{name}{i}.json") for name, own in ensembles.items() for i in range(len(own))]
        for name, own in ensembles.items():
            for number, content in enumerate(own):
                Path(f"{name}{number}.json").write_text(json.dumps(content))
        return pool_ensembles(named)

    return call


def test_ensembles_beside_each_other(pool_named, pool):
    first, second = [make(0), make(1, first=6)], [make(2), make(3, first=6)]
    pooled = pool_named(small=first, large=second)
    assert [row.name for row in pooled.rows] == ["small", "large"] and (pooled.folds, pooled.seeds) == (2, 1)
    # What each has when it is pooled alone, and the paired difference of the two.
    for row, own in zip(pooled.rows, (first, second), strict=True):
        alone = pool(*own).rows[-2]
        assert alone.name == "ensemble"
        assert (row.map, row.ap50, row.ap75, row.interval) == (alone.map, alone.ap50, alone.ap75, alone.interval)
        assert row.per_type == alone.per_type
    differences = {
        (image, 0): scores(b, "ensemble")[image] - scores(a, "ensemble")[image]
        for a, b in zip(first, second, strict=True)
        for image in a["images"]
    }
    small = pooled.rows[0]
    assert small.difference == pytest.approx(np.mean(list(differences.values())))
    group_of = {image: group for one in first for image, group in zip(one["images"], one["groups"], strict=True)}
    assert small.difference_interval == pytest.approx(plain_intervals(differences, group_of), abs=0.02)
    assert [file for file, _ in pooled.files] == ["small0.json", "small1.json", "large0.json", "large1.json"]
    assert "large minus this" in pool_table(pooled)


def test_ensembles_whose_images_come_in_another_order(pool_named):
    second = make(5)
    turned = {key: value[::-1] if isinstance(value, list) and key != "rows" else value for key, value in second.items()}
    turned["rows"] = [
        {key: value[::-1] if isinstance(value, list) else value for key, value in row.items()} for row in second["rows"]
    ]
    straight, other = pool_named(a=[make(4)], b=[second]), pool_named(a=[make(4)], b=[turned])
    assert straight.rows[0].difference_interval == other.rows[0].difference_interval


@pytest.mark.parametrize(
    ("ensembles", "words"),
    [
        (dict(a=[make(0)]), "only one ensemble is named"),
        (dict(a=[make(0)], b=[make(1), make(2)]), r"different numbers of comparisons \(a 1, b 2\)"),
        (dict(a=[make(0)], b=[make(1, first=1)]), r"b0\.json: of other images than a0\.json"),
    ],
)
def test_ensembles_that_cannot_be_compared(pool_named, ensembles, words):
    with pytest.raises(InputError, match=words):
        pool_named(**ensembles)
