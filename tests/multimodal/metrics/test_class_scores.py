"""Scores of classes, labels and numbers: by hand, and scikit-learn's where it is installed."""

import numpy as np
import pytest

from cellseg.errors import InputError
from cellseg.multimodal.metrics import (
    accuracy,
    label_accuracy,
    macro_f1,
    macro_label_f1,
    regression_scores,
    roc_auc,
)

FOUND, TRUE = [0, 0, 1, 1, 2, 0], [0, 1, 1, 1, 0, 0]
NAN = float("nan")


def test_classes_by_hand():
    assert accuracy(FOUND, TRUE) == pytest.approx(4 / 6)
    # Class 0: 2 right of 3 said and 3 true: 4/6. Class 1: 2 of 2 and 3: 4/5. Class 2: said once, never true: 0.
    assert macro_f1(FOUND, TRUE) == pytest.approx((4 / 6 + 4 / 5 + 0) / 3)
    # Classes 0 and 3 occur; 1 and 2 do not and count neither way.
    assert macro_f1([3, 0], [3, 3]) == pytest.approx((2 / 3 + 0) / 2)


def test_labels_by_hand():
    found = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0]], bool)
    true = np.array([[1, 0, 0], [0, NAN, 0], [1, 1, 0]])
    assert label_accuracy(found, true) == pytest.approx(6 / 8)
    # Label 0: 1 right of 2 and 2: 1/2; label 1: 1 of 1 and 1: 1; label 2 occurs nowhere.
    assert macro_label_f1(found, true) == pytest.approx(3 / 4)
    assert macro_label_f1(np.zeros((2, 2), bool), np.zeros((2, 2))) == 1.0


def test_area_by_hand():
    # Positives 0.9, 0.4 against negatives 0.4, 0.1: 1 + 1 + half + 1 of 4.
    assert roc_auc([0.9, 0.4, 0.4, 0.1], [True, True, False, False]) == pytest.approx(3.5 / 4)
    assert roc_auc([0.5, 0.5], [True, True]) is None


def test_numbers_by_hand():
    found = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 30.0]])
    true = np.array([[1.0, 12.0], [3.0, NAN], [3.0, 28.0]])
    scores = regression_scores(found, true)
    assert scores["mae"] == pytest.approx((2 / 3 + 2) / 2)
    assert scores["rmse"] == pytest.approx((np.sqrt(2 / 3) + 2) / 2)
    # First: errors 0 1 1, spread (4/9 16/9... around 7/3) 16/9 + 4/9 + 4/9; second: 8 of 128.
    assert scores["r2"] == pytest.approx(((1 - 2 / (24 / 9)) + (1 - 8 / 128)) / 2)


def test_equal_truths_have_no_r2():
    assert regression_scores(np.array([[1.0, 2.0], [1.0, 4.0]]), np.array([[5.0, 2.0], [5.0, 4.0]]))["r2"] == 1.0
    assert np.isnan(regression_scores(np.ones((2, 1)), np.ones((2, 1)))["r2"])


def test_scikit_learn_says_the_same():
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    for _ in range(20):
        found, true = random.integers(4, size=(2, 30))
        assert accuracy(found, true) == pytest.approx(metrics.accuracy_score(true, found))
        assert macro_f1(found, true) == pytest.approx(metrics.f1_score(true, found, average="macro"))
        scores = random.integers(10, size=30) / 10
        assert roc_auc(scores, true > 1) == pytest.approx(metrics.roc_auc_score(true > 1, scores))
        numbers = random.standard_normal((2, 30, 2))
        mine = regression_scores(*numbers)
        assert mine["mae"] == pytest.approx(metrics.mean_absolute_error(numbers[1], numbers[0]))
        assert mine["rmse"] == pytest.approx(metrics.root_mean_squared_error(numbers[1], numbers[0]))
        assert mine["r2"] == pytest.approx(metrics.r2_score(numbers[1], numbers[0]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: accuracy([1], [1, 2]), "expected as many answers as truths, found [1] and [2]"),
        (lambda: macro_f1([], []), "expected as many answers as truths, found [0] and [0]"),
        (lambda: roc_auc([0.5], [True, False]), "expected as many answers as truths, found [1] and [2]"),
        (
            lambda: label_accuracy(np.ones((2, 2)), np.ones((2, 3))),
            "expected labels [N, K] twice, found [2, 2] and [2, 3]",
        ),
        (lambda: label_accuracy(np.ones((1, 1)), np.full((1, 1), NAN)), "no label is known"),
        (lambda: regression_scores(np.ones(2), np.ones(2)), "expected numbers [N, K] twice, found [2] and [2]"),
        (lambda: regression_scores(np.ones((1, 1)), np.full((1, 1), NAN)), "no true number is known"),
    ],
)
def test_what_cannot_be_scored(call, message):
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value) == message
