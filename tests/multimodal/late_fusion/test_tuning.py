"""The search for weights: what it finds, its candidates and its budget; and the table of studies."""

from dataclasses import replace

import numpy as np
import pytest

from cellseg.errors import InputError
from cellseg.multimodal.late_fusion import TuningOptions, align, combine, study_fusion, study_table, tune_weights
from cellseg.multimodal.late_fusion.combine import FusionWeights
from cellseg.multimodal.late_fusion.scores import SCORES
from cellseg.multimodal.late_fusion.table import differences, pooled_values
from cellseg.multimodal.late_fusion.tuning import Tuned, best_of
from cellseg.multimodal.metrics import accuracy, macro_f1

TUNERS = ("uniform", "random", "differential_evolution", "aquila")


def test_scores_are_those_of_the_metrics(table):
    samples = align([table()], "val")
    said, labels = samples.probabilities[0], samples.labels
    assert SCORES["accuracy"].of(said, labels) == pytest.approx(accuracy(said.argmax(1), labels))
    assert SCORES["macro_f1"].of(said, labels) == pytest.approx(macro_f1(said.argmax(1), labels))
    losses = [-np.log(row[label]) for row, label in zip(said, labels, strict=True)]
    assert SCORES["log_loss"].of(said, labels) == pytest.approx(np.mean(losses))
    assert SCORES["log_loss"].cost(said, labels) == pytest.approx(np.mean(losses))
    assert SCORES["accuracy"].cost(said, labels) == pytest.approx(1 - accuracy(said.argmax(1), labels))


@pytest.mark.parametrize("shrinkage", [0.0, 5.0])
@pytest.mark.parametrize("tuner", TUNERS)
@pytest.mark.parametrize("by", list(SCORES))
def test_no_search_is_worse_than_equal_weights_or_a_model_alone(table, tuner, by, shrinkage):
    samples = align([table("one", 2.0, seed=1), table("two", 0.5, seed=2), table("noise", 0.0, seed=3)], "val")
    found = tune_weights(samples, tuner, TuningOptions(by=by, budget=40, shrinkage=shrinkage))
    # A model alone is (2/3)^2 + (1/3)^2 + (1/3)^2 away from equal weights.
    drawn = shrinkage / len(samples.labels)
    costs = [SCORES[by].cost(each, samples.labels) + drawn * 2 / 3 for each in samples.probabilities]
    equal = SCORES[by].cost(samples.probabilities.mean(axis=0), samples.labels)
    assert found.cost <= (equal if tuner == "uniform" else min(equal, *costs)) + 1e-12
    assert found.weights.values.sum() == pytest.approx(1) and (found.weights.values >= 0).all()
    again = combine(samples.probabilities, found.weights.values)
    distance = sum((weight - 1 / 3) ** 2 for weight in found.weights.values)
    assert found.cost == pytest.approx(SCORES[by].cost(again, samples.labels) + drawn * distance)
    assert found.evaluations == (1 if tuner == "uniform" else 40)


def test_noise_gets_little_weight(table):
    samples = align([table("one", 2.0, 300, 1), table("two", 2.0, 300, 2), table("noise", 0.0, 300, 3)], "val")
    weights = tune_weights(samples, "differential_evolution", TuningOptions("log_loss", budget=200)).weights.values
    assert weights[2] < 0.15 and min(weights[:2]) > 0.3


@pytest.mark.parametrize("per_class", [False, True])
def test_few_samples_leave_weights_nearer_to_equal_ones(table, per_class):
    def distance(shrinkage):
        samples = align([table("one", 2.0, 60, 1), table("two", 1.0, 60, 2), table("noise", 0.0, 60, 3)], "val")
        options = TuningOptions("log_loss", per_class=per_class, budget=200, shrinkage=shrinkage)
        return np.square(tune_weights(samples, "differential_evolution", options).weights.values - 1 / 3).sum()

    far, near, equal = (distance(shrinkage) for shrinkage in (0.0, 10.0, 1e6))
    assert far > near > equal and equal == pytest.approx(0, abs=1e-6)


def test_weights_by_class_use_what_each_model_knows(table):
    # Each model tells one class apart from the others and nothing else.
    labels = table(count=90).labels
    tables = []
    for known in range(3):
        said = np.full((90, 3), 1 / 3)
        said[labels == known] = [0.9 if label == known else 0.05 for label in range(3)]
        said[labels != known] = [0.1 if label == known else 0.45 for label in range(3)]
        tables.append(table(f"knows {known}", count=90, probabilities=said))
    samples = align(tables, "val")
    found = tune_weights(samples, "differential_evolution", TuningOptions("log_loss", per_class=True, budget=400))
    assert found.weights.values.shape == (3, 3) and found.weights.values.sum(axis=0) == pytest.approx(np.ones(3))
    assert found.weights.values.argmax(axis=0).tolist() == [0, 1, 2]
    equal = tune_weights(samples, "uniform", TuningOptions("log_loss", per_class=True))
    assert equal.weights.values == pytest.approx(np.full((3, 3), 1 / 3)) and found.cost < equal.cost


@pytest.mark.parametrize(
    ("options", "tuner", "message"),
    [
        ({}, "luck", "tuner 'luck' is none of aquila, differential_evolution, random, uniform"),
        (
            dict(budget=2),
            "random",
            "--budget 2: equal weights and each of 2 models alone are always tried; give 3 or more",
        ),
        (dict(by="auc"), "random", "--by auc: expected one of accuracy, macro_f1, log_loss"),
        (dict(shrinkage=-1.0), "random", "--shrinkage -1.0: expected a number of 0 or more"),
        (dict(mean="median"), "random", "--mean median: expected one of arithmetic, geometric"),
    ],
)
def test_searches_that_cannot_be_made(table, options, tuner, message):
    with pytest.raises(InputError) as error:
        tune_weights(align([table("one"), table("two", seed=2)], "val"), tuner, TuningOptions(**options))
    assert str(error.value) == message


def test_of_equal_searches_the_usual_tuner_is_kept():
    weights = FusionWeights.uniform(("a",), ("x", "y"))
    found = [Tuned(name, weights, 0.25, 1) for name in ("random", "differential_evolution", "aquila")]
    assert best_of(found).tuner == "differential_evolution"
    assert best_of([*found, Tuned("aquila", weights, 0.2, 1)]).tuner == "aquila"


def test_a_study_scores_everything_on_samples_that_were_not_tuned_on(table):
    tables = [table("one", 1.5, seed=1), table("two", 1.5, seed=2)]
    other = table("early", 4.0, seed=4)
    study = study_fusion(tables, TuningOptions(budget=30), others=[other])
    rows = {row.name: row for row in study.rows}
    assert list(rows) == ["one", "two", "early", "uniform", "random", "differential_evolution", "aquila"]
    assert [row.kind for row in study.rows] == ["model", "model", "other", *["tuner"] * 4]
    held_out = align([*tables, other], "test")
    mean = held_out.probabilities[:2].mean(axis=0)
    equal = accuracy(mean.argmax(1), held_out.labels)
    assert rows["uniform"].scores["accuracy"] == pytest.approx(equal)
    apart = differences([study])
    assert apart["uniform"]["accuracy"] is None and rows["uniform"].weights == {"one": 0.5, "two": 0.5}
    early = accuracy(held_out.probabilities[2].argmax(1), held_out.labels)
    value, low, high = apart["early"]["accuracy"]
    assert value == pytest.approx(early - equal) and low <= value <= high
    best = rows[study.chosen.tuner]
    assert best.tuned == max(row.tuned for row in study.rows if row.kind == "tuner")
    assert study.splits == ("val", "test") and (len(study.seen.ids), len(study.unseen.ids)) == (20, 20)


def test_the_table_of_a_study(table):
    tables = [table("one", 1.5, seed=1), table("two", 1.5, seed=2)]
    text = study_table([study_fusion(tables, TuningOptions(budget=30, per_class=True), ["aquila"])])
    lines = text.splitlines()
    assert lines[2].startswith("|  | accuracy (val) | accuracy | macro_f1 | log_loss | accuracy - uniform |")
    assert [line.split(" | ")[0] for line in lines[4:8]] == ["| one", "| two", "| uniform", "| aquila *"]
    assert lines[-2] == "- uniform: one 0.500; two 0.500" and lines[-1].startswith("- aquila: one (bad ")


def test_studies_of_several_seeds_are_one_table(table):
    def study(seed):
        tables = [table("one", 1.5, seed=seed), table("two", 1.5, seed=9 + seed)]
        return study_fusion(tables, TuningOptions(budget=30, seed=seed), ["aquila"])

    studies = [study(1), study(2)]
    names = ["one", "two", "uniform", "aquila"]
    scores = {name: [one.rows[place].scores["accuracy"] for one in studies] for place, name in enumerate(names)}
    value, low, high = differences(studies)["one"]["accuracy"]
    assert value == pytest.approx(np.mean(scores["one"]) - np.mean(scores["uniform"])) and low < value < high
    lines = study_table(studies, [1, 2]).splitlines()
    assert lines[0].startswith(
        "Seeds 1, 2: mean ± standard deviation. 20 samples of 'val' to tune on, 20 of 'test' in 20 "
    )
    mean, spread = np.mean(scores["one"]), np.std(scores["one"], ddof=1)
    assert lines[4].split(" | ")[2] == f"{mean:.4f} ± {spread:.4f}" and spread > 0
    kept = [one.chosen.tuner for one in studies].count("aquila")
    assert lines[7].split(" | ")[0] == ("| aquila" if not kept else f"| aquila *{kept}") and len(lines) == 8
    values = pooled_values(studies, [1, 2])
    assert values["seeds"] == [1, 2] and [row["name"] for row in values["rows"]] == names
    assert values["rows"][0]["scores"]["accuracy"] == scores["one"] and "seed" not in values["options"]
    assert values["chosen"] == [one.chosen.tuner for one in studies]


def test_studies_of_other_samples_or_rows_are_refused(table):
    whole = study_fusion([table("one")], TuningOptions(), ["uniform"])
    other = study_fusion([table("two")], TuningOptions(), ["uniform"])
    with pytest.raises(InputError, match="studies of other rows: one, uniform, and two, uniform"):
        differences([whole, other])
    turned = study_fusion([table("one")], TuningOptions(), ["uniform"], tune_split="test", held_out="val")
    with pytest.raises(InputError, match="studies of other"):
        differences([whole, turned])
    part = table("one")
    splits = list(part.splits)
    splits[splits.index("test")] = "train"
    fewer = replace(part, splits=tuple(splits))
    with pytest.raises(InputError, match="studies of other held-out samples; train all seeds with the same splits"):
        differences([whole, study_fusion([fewer], TuningOptions(), ["uniform"])])


def test_one_split_for_both_and_names_of_tuners_are_refused(table):
    with pytest.raises(InputError, match="tuning and scoring on 'val' alone says nothing of new samples"):
        study_fusion([table()], TuningOptions(), held_out="val")
    with pytest.raises(InputError, match="a model cannot be called 'aquila', as a tuner is; name it as NAME=PATH"):
        study_fusion([table("aquila")], TuningOptions())
