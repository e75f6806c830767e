"""Classical classifiers on features: they learn from the training split alone, and what is refused."""

import numpy as np
import pytest

from cellseg.errors import InputError
from cellseg.multimodal.late_fusion import CLASSIFIERS, FeatureSamples, align, classify


@pytest.fixture
def samples(table):
    base = table("net", count=90)
    features = np.random.default_rng(1).normal(size=(90, 4))
    features[np.arange(90), base.labels] += 6
    features[5, 3] = np.nan
    return FeatureSamples.of(table("net", count=90, features=features))


@pytest.mark.parametrize("kind", list(CLASSIFIERS))
def test_classes_that_lie_apart_are_told_apart(samples, kind):
    said = classify(samples, kind)
    assert said.name == f"{kind}(net)" and said.class_names == samples.class_names
    test = align([said], "test")
    assert (test.probabilities[0].argmax(axis=1) == test.labels).mean() > 0.9


@pytest.mark.parametrize("kind", list(CLASSIFIERS))
def test_labels_outside_the_training_split_are_not_looked_at(samples, kind):
    from dataclasses import replace

    hidden = np.where(np.array(samples.splits) == "train", samples.labels, (samples.labels + 1) % 3)
    said, again = (classify(each, kind) for each in (samples, replace(samples, labels=hidden)))
    assert np.array_equal(said.probabilities, again.probabilities)


def test_a_class_without_training_samples_has_no_probability(table):
    base = table(count=60)
    labels = np.where((np.array(base.splits) == "train") & (base.labels == 1), 0, base.labels)
    features = np.random.default_rng(1).normal(size=(60, 3))
    said = classify(FeatureSamples.of(table(labels=labels, features=features)), "knn")
    assert (said.probabilities[:, 1] == 0).all() and said.probabilities[:, 2].any()


def test_what_cannot_be_learned(table):
    with pytest.raises(InputError, match="one: has no features to learn from; give its work folder instead of a file"):
        FeatureSamples.of(table())
    with pytest.raises(InputError, match=r"one: expected features \[60, C\], found \[4, 2\]"):
        FeatureSamples.of(table(), np.ones((4, 2)))
    features = np.ones((60, 2))
    with pytest.raises(InputError, match="--baselines tree: expected some of svm, random_forest, knn, logistic"):
        classify(FeatureSamples.of(table(), features), "tree")
    with pytest.raises(InputError, match="one: the split 'train' has 0 labelled samples of 0 classes; a classifier ne"):
        classify(FeatureSamples.of(table(splits=("val",) * 60), features), "knn")
