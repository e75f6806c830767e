from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellseg.datasets.folds import default_folds, make_splits
from cellseg.errors import InputError


def wells(sizes: dict[str, list[int]]) -> tuple[list[str], list[str]]:
    """Groups and types of images: for each type the sizes of its groups."""
    groups, types = [], []
    for cell_type, own in sizes.items():
        for number, size in enumerate(own):
            groups += [f"{cell_type}{number}"] * size
            types += [cell_type] * size
    return groups, types


@given(
    seed=st.integers(0, 1000),
    folds=st.integers(1, 5),
    sizes=st.lists(st.tuples(st.integers(1, 6), st.sampled_from("abc")), min_size=10, max_size=25),
)
def test_every_image_once_and_no_group_in_two_splits(seed, folds, sizes):
    groups = [f"g{number}" for number, (size, _) in enumerate(sizes) for _ in range(size)]
    types = [cell_type for size, cell_type in sizes for _ in range(size)]
    fold_of_image, splits = make_splits(groups, types, folds, 0.2, seed)
    assert len(splits) == folds
    for fold, split in enumerate(splits):
        assert sorted(split.train + split.val + split.test) == list(range(len(groups)))
        names = [{groups[index] for index in part} for part in (split.train, split.val, split.test)]
        assert not (names[0] & names[1] or names[0] & names[2] or names[1] & names[2])
        assert split.train and split.val
        assert bool(split.test) == (folds > 1)
        if folds > 1:
            assert list(split.test) == np.flatnonzero(fold_of_image == fold).tolist()
    if folds > 1:
        assert sorted(index for split in splits for index in split.test) == list(range(len(groups)))


@given(seed=st.integers(0, 50), folds=st.integers(3, 6), counts=st.lists(st.integers(1, 30), min_size=1, max_size=4))
def test_single_images_are_spread_as_evenly_as_possible(seed, folds, counts):
    types = [str(number) for number, count in enumerate(counts) for _ in range(count)]
    if len(types) < folds:
        return
    fold_of_image, _ = make_splits([str(number) for number in range(len(types))], types, folds, 0.2, seed)
    for cell_type in set(types):
        held = np.bincount(fold_of_image[np.array(types) == cell_type], minlength=folds)
        assert held.max() - held.min() <= 1
    total = np.bincount(fold_of_image, minlength=folds)
    assert total.max() - total.min() <= 1


def test_unequal_groups_are_balanced_by_type():
    rng = np.random.default_rng(0)
    groups, types = wells({name: rng.integers(1, 12, 30).tolist() for name in ("astro", "cort", "shsy5y")})
    _, splits = make_splits(groups, types, 5, 0.2, 0)
    total = Counter(types)
    for split in splits:
        tested = Counter(types[index] for index in split.test)
        validated = Counter(types[index] for index in split.val)
        for cell_type, count in total.items():
            assert tested[cell_type] == pytest.approx(count / 5, abs=1)
            assert validated[cell_type] == pytest.approx((count - tested[cell_type]) / 5, abs=1.5)


def test_a_type_with_few_groups_is_spread_and_kept_in_training():
    groups, types = wells({"common": [3] * 20, "rare": [2, 2], "single": [1]})
    _, splits = make_splits(groups, types, 4, 0.2, 0)
    folds_with = defaultdict(int)
    for split in splits:
        parts = {name: {types[index] for index in getattr(split, name)} for name in ("train", "val", "test")}
        for cell_type in parts["test"]:
            folds_with[cell_type] += 1
        assert "rare" in parts["train"]
        assert "single" in parts["train"] or "single" in parts["test"], "the only group is not spent on validation"
        assert "common" in parts["val"]
    assert folds_with == {"common": 4, "rare": 2, "single": 1}


def test_a_type_with_enough_groups_is_in_every_part():
    groups, types = wells({"many": [10] * 12, "few": [1] * 8})
    _, splits = make_splits(groups, types, 4, 0.2, 1)
    for split in splits:
        for part in (split.train, split.val, split.test):
            assert {types[index] for index in part} == {"many", "few"}


def test_the_seed_decides_and_the_order_of_images_does_not():
    groups, types = wells({"a": [2] * 9, "b": [3] * 9})
    first, splits = make_splits(groups, types, 3, 0.2, 7)
    again, splits_again = make_splits(groups, types, 3, 0.2, 7)
    assert first.tolist() == again.tolist()
    assert splits == splits_again
    order = np.random.default_rng(0).permutation(len(groups))
    shuffled, _ = make_splits([groups[index] for index in order], [types[index] for index in order], 3, 0.2, 7)
    assert shuffled.tolist() == first[order].tolist()
    assert any(make_splits(groups, types, 3, 0.2, seed)[0].tolist() != first.tolist() for seed in range(8))


def test_about_the_wanted_fraction_validates():
    groups, types = wells({"a": [1] * 100})
    _, splits = make_splits(groups, types, 5, 0.35, 0)
    assert {len(split.val) for split in splits} == {28}


@pytest.mark.parametrize(
    ("groups", "folds", "message"),
    [
        (2, 3, "--folds 3 needs at least 3 groups, as a group is never split, but there are only 2; use fewer folds"),
        (3, 2, "--folds 2 needs at least 4 groups, as a group is never split, but there are only 3"),
        (1, 1, "--folds 1 needs at least 2 groups, as a group is never split, but there are only 1"),
        (9, 0, "--folds 0: expected at least 1"),
    ],
)
def test_too_few_groups(groups, folds, message):
    names = [f"g{number % groups}" for number in range(18)]
    with pytest.raises(InputError, match=message):
        make_splits(names, ["a"] * 18, folds)


@pytest.mark.parametrize(("groups", "folds"), [(1, 1), (2, 1), (3, 3), (4, 4), (5, 5), (90, 5)])
def test_default_folds_fit_the_groups(groups, folds):
    assert default_folds(groups) == folds
    if groups > 1:
        assert len(make_splits([str(number) for number in range(groups)], ["a"] * groups, folds)[1]) == folds


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict(val_fraction=0.0), "--val 0: expected a fraction between 0 and 1"),
        (dict(val_fraction=float("nan")), "--val nan: expected a fraction between 0 and 1"),
        (dict(seed=-1), "--seed -1: expected 0 or more"),
    ],
)
def test_bad_numbers(values, message):
    with pytest.raises(InputError, match=message):
        make_splits(["a", "b", "c"], ["x"] * 3, 3, **values)
