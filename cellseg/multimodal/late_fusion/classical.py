"""Classical classifiers on feature vectors, as baselines: SVM, random forest, k-NN, logistic regression."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellseg.errors import CellsegError, InputError
from cellseg.multimodal.late_fusion.probabilities import UNKNOWN, ProbabilityTable

NEIGHBOURS = 5
TREES = 200


@dataclass(frozen=True)
class FeatureSamples:
    """Feature vectors of samples whose classes are known, or are to be told.

    Attributes:
        name: of the features, for messages.
        class_names: K names.
        ids, splits, groups: of N samples.
        labels: int64 ``[N]``, or ``UNKNOWN``.
        features: float ``[N, C]``; NaN where unknown.
    """

    name: str
    class_names: tuple[str, ...]
    ids: tuple[str, ...]
    splits: tuple[str, ...]
    groups: tuple[str, ...]
    labels: np.ndarray
    features: np.ndarray

    @classmethod
    def of(cls, table: ProbabilityTable, features: np.ndarray | None = None) -> "FeatureSamples":
        """Those of a model, or other features of its samples.

        Raises:
            InputError: there are none, or not as many as samples.
        """
        features = table.features if features is None else np.asarray(features, np.float64)
        if features is None:
            raise InputError(f"{table.name}: has no features to learn from; give its work folder instead of a file")
        if features.ndim != 2 or len(features) != len(table.ids):
            raise InputError(f"{table.name}: expected features [{len(table.ids)}, C], found {list(np.shape(features))}")
        return cls(table.name, table.class_names, table.ids, table.splits, table.groups, table.labels, features)


def classify(samples: FeatureSamples, kind: str, seed: int = 0, train: str = "train") -> ProbabilityTable:
    """Train a classical classifier on the training split and let it speak of all samples.

    Features are standardised, and unknown ones set to the mean, by the training samples.

    Args:
        samples: with their features.
        kind: one of ``CLASSIFIERS``.
        seed: of the random forest, and of the SVM's probabilities.
        train: the split that it learns from.

    Returns:
        A table like that of any model, called ``KIND(NAME)``. A class that no training sample has gets 0.

    Raises:
        InputError: an unknown classifier, or no two classes to learn.
        CellsegError: scikit-learn is not installed.
    """
    if kind not in CLASSIFIERS:
        raise InputError(f"--baselines {kind}: expected some of {', '.join(CLASSIFIERS)}")
    rows = (np.array(samples.splits) == train) & (samples.labels != UNKNOWN)
    known = np.unique(samples.labels[rows])
    if len(known) < 2:
        raise InputError(
            f"{samples.name}: the split {train!r} has {int(rows.sum())} labelled samples of {len(known)} classes; "
            "a classifier needs two classes"
        )
    pipeline = _pipeline(kind, seed, samples.labels[rows])
    pipeline.fit(samples.features[rows], samples.labels[rows])
    said = pipeline.predict_proba(samples.features)
    probabilities = np.zeros((len(samples.ids), len(samples.class_names)))
    probabilities[:, pipeline.classes_] = said
    return ProbabilityTable(
        f"{kind}({samples.name})",
        samples.class_names,
        samples.ids,
        samples.splits,
        samples.labels,
        samples.groups,
        probabilities,
        source={"classifier": kind, "features": samples.name, "seed": seed},
    )


def _pipeline(kind: str, seed: int, labels: np.ndarray) -> Any:
    try:
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise CellsegError("classical baselines need scikit-learn: pip install scikit-learn") from error
    fill = SimpleImputer(keep_empty_features=True)
    return make_pipeline(fill, StandardScaler(), CLASSIFIERS[kind](seed, labels))


def _svm(seed: int, labels: np.ndarray) -> Any:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.svm import SVC

    # An SVM has no probabilities of its own: a sigmoid is fitted to its margins on held-out folds (Platt 1999).
    folds = min(5, int(np.unique(labels, return_counts=True)[1].min()))
    if folds < 2:
        raise InputError("--baselines svm: needs two training samples or more of each class")
    return CalibratedClassifierCV(SVC(kernel="rbf", random_state=seed), cv=folds, ensemble=False)


def _forest(seed: int, labels: np.ndarray) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(TREES, random_state=seed, n_jobs=1)


def _neighbours(seed: int, labels: np.ndarray) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(min(NEIGHBOURS, len(labels)))


def _logistic(seed: int, labels: np.ndarray) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000, random_state=seed)


CLASSIFIERS: dict[str, Callable[[int, np.ndarray], Any]] = {
    "svm": _svm,
    "random_forest": _forest,
    "knn": _neighbours,
    "logistic": _logistic,
}
