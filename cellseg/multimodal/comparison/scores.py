"""Scores of each task as sums over samples, so that two models can be compared on the same draws of samples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from cellseg.errors import InputError
from cellseg.multimodal.comparison.intervals import Counts, Statistic, class_counts, macro_f1_of_sums, ratio
from cellseg.multimodal.comparison.predictions import Row, SplitPredictions
from cellseg.multimodal.data import DataDescription
from cellseg.multimodal.data.answers import normalise_answer
from cellseg.multimodal.metrics import caption_words, cider_d, meteor, rouge_l, true_pairs, vqa_accuracy
from cellseg.multimodal.metrics.words import ngrams

BLEU_LENGTHS = (1, 2)
TOP = (1, 5)
SMALLER_IS_BETTER = ("mae", "rmse")
# Before the kind of question in the name of a score.
KIND_ACCURACY = "accuracy:"


@dataclass(frozen=True)
class SampleScore:
    """One score of one model.

    Attributes:
        keys: name of each sample (or query), by which two models are paired.
        groups: of each.
        counts: what each adds to the sums, float ``[N, D]``.
        statistic: the score of the sums.
    """

    keys: tuple[str, ...]
    groups: tuple[str, ...]
    counts: Counts
    statistic: Statistic

    @property
    def value(self) -> float:
        """The score of all samples."""
        return float(self.statistic(self.counts.sum(axis=0)))

    def in_order_of(self, other: "SampleScore", where: str) -> Counts:
        """``counts`` for the samples of another model.

        Raises:
            InputError: it was scored on other samples; names ``where``.
        """
        if self.keys == other.keys:
            return self.counts
        place = {key: row for row, key in enumerate(self.keys)}
        if place.keys() != set(other.keys):
            raise InputError(f"{where}: was scored on other samples than the first; compare models of one data set")
        return self.counts[[place[key] for key in other.keys]]


Scores = Mapping[str, SampleScore]


def score_predictions(predictions: SplitPredictions) -> dict[str, dict[str, SampleScore]]:
    """Scores by task and name.

    - classification, domain, environment: ``accuracy``, ``macro_f1``; multilabel likewise, over labels;
    - vqa: ``accuracy``, and ``macro_f1`` of the answer that most annotators gave; ``accuracy:KIND`` of the questions of
      each kind, where the data names kinds;
    - regression: ``mae``, ``rmse``, ``r2``, each the mean over the numbers of a sample;
    - captioning: ``bleu1``, ``bleu2``, ``cider``, ``rouge``;
    - matching: ``accuracy`` of true and drawn wrong captions; ``image_to_text_top1`` and so on of the picture's and the
      caption's search through the whole split: by the probability where all pairs were asked, else by embeddings.
    """
    about = predictions.description
    scores = {
        task: _SCORERS.get(task, partial(_named, task))(rows, about)
        for task, rows in predictions.rows.items()
        if rows and task != "matching"
    }
    if predictions.rows.get("matching"):
        scores["matching"] = _matching(predictions.rows["matching"], predictions.pairs)
    return scores


def meteor_of(rows: Sequence[Row], description: DataDescription) -> float:
    """METEOR of written captions, a score that is no sum over samples; errors as ``metrics.meteor``."""
    tokenizer = description.words()
    return meteor([tokenizer.decode(row.prediction["tokens"]) for row in rows], [list(row.truth) for row in rows])


def _score(rows: Sequence[Row], counts: Counts, statistic: Statistic = ratio) -> SampleScore:
    return SampleScore(tuple(row.id for row in rows), tuple(row.group for row in rows), counts, statistic)


def beside_ones(values: Sequence[float]) -> Counts:
    """Values as sums of a ``ratio``."""
    return np.stack([np.asarray(values, np.float64), np.ones(len(values))], axis=1)


def _named(task: str, rows: Sequence[Row], about: DataDescription) -> dict[str, SampleScore]:
    found, true = [row.prediction["label"] for row in rows], [row.truth for row in rows]
    return {
        "accuracy": _score(rows, beside_ones(np.equal(found, true))),
        "macro_f1": _score(rows, class_counts(found, true, len(about.names_of(task))), macro_f1_of_sums),
    }


def _labels(rows: Sequence[Row], about: DataDescription) -> dict[str, SampleScore]:
    found = np.array([row.prediction["probabilities"] for row in rows]) >= 0.5
    true = np.array([row.truth for row in rows], np.float64)
    known = ~np.isnan(true)
    wanted = np.where(known, true, 0) > 0.5
    sums = np.concatenate([found & wanted & known, found & known, wanted], axis=1).astype(np.float64)
    right = np.stack([((found == wanted) & known).sum(axis=1), known.sum(axis=1)], axis=1).astype(np.float64)
    return {"accuracy": _score(rows, right), "macro_f1": _score(rows, sums, macro_f1_of_sums)}


def _numbers(rows: Sequence[Row], about: DataDescription) -> dict[str, SampleScore]:
    true = np.array([row.truth for row in rows], np.float64)
    error = np.array([row.prediction["value"] for row in rows]) - true
    parts = [np.abs(error), error**2, true, true**2, np.ones_like(true)]
    sums = np.concatenate([np.where(np.isnan(true), 0.0, part) for part in parts], axis=1)
    return {name: _score(rows, sums, partial(_of_numbers, name)) for name in ("mae", "rmse", "r2")}


def _of_numbers(name: str, sums: Counts) -> Counts:
    """Errors of ``[..., 5 K]`` sums, see ``metrics.regression_scores``; a number without a score does not count."""
    off, squared, total, squares, many = np.split(sums, 5, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        if name == "r2":
            spread = squares - total**2 / many
            # What rounding leaves of equal truths is no spread.
            values = np.where(spread > 1e-9 * squares, 1 - squared / spread, np.nan)
        else:
            values = off / many if name == "mae" else np.sqrt(squared / many)
        there = np.isfinite(values)
        return np.where(there, values, 0.0).sum(axis=-1) / there.sum(axis=-1)


def most_given(answers: Sequence[str]) -> str:
    """The answer that most annotators gave, normalised; of equally many the alphabetically first."""
    said = [normalise_answer(answer) for answer in answers]
    return min(said, key=lambda answer: (-said.count(answer), answer))


def _answers(rows: Sequence[Row], about: DataDescription) -> dict[str, SampleScore]:
    found = [about.answers[row.prediction["answer"]] for row in rows]
    wanted = [most_given(row.truth) for row in rows]
    # Answers outside the list to choose from are classes too, which nobody finds.
    places = {answer: index for index, answer in enumerate(dict.fromkeys([*about.answers, *wanted]))}
    numbers = [[places[answer] for answer in part] for part in (found, wanted)]
    right = beside_ones(vqa_accuracy(found, [row.truth for row in rows]))
    scores = {
        "accuracy": _score(rows, right),
        "macro_f1": _score(rows, class_counts(*numbers, len(places)), macro_f1_of_sums),
    }
    for kind in sorted({row.question_type for row in rows} - {""}):
        own = [index for index, row in enumerate(rows) if row.question_type == kind]
        scores[f"{KIND_ACCURACY}{kind}"] = _score([rows[index] for index in own], right[own])
    return scores


def _captions(rows: Sequence[Row], about: DataDescription) -> dict[str, SampleScore]:
    tokenizer = about.words()
    written = [caption_words(tokenizer.decode(row.prediction["tokens"])) for row in rows]
    references = [[caption_words(text) for text in row.truth] for row in rows]
    sums = np.array([_bleu_sums(words, own) for words, own in zip(written, references, strict=True)], np.float64)
    scores = {f"bleu{length}": _score(rows, sums, partial(_bleu, length)) for length in BLEU_LENGTHS}
    scores["cider"] = _score(rows, beside_ones(cider_d(written, references)))
    scores["rouge"] = _score(rows, beside_ones(rouge_l(written, references)))
    return scores


def _bleu_sums(words: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """Right and all n-grams of each length, words, and words of the reference that is nearest in length."""
    sums: list[float] = []
    for length in BLEU_LENGTHS:
        found, most = ngrams(words, length), ngrams((), length)
        for reference in references:
            most |= ngrams(reference, length)
        sums += [(found & most).total(), found.total()]
    nearest = min((abs(len(reference) - len(words)), len(reference)) for reference in references)[1]
    return [*sums, len(words), nearest]


def _bleu(length: int, sums: Counts) -> Counts:
    """BLEU-n of sums, see ``metrics.bleu``."""
    with np.errstate(invalid="ignore", divide="ignore"):
        right, total = sums[..., 0 : 2 * length : 2], sums[..., 1 : 2 * length : 2]
        shares = np.where(total > 0, right / total, 0.0).prod(axis=-1)
        penalty = np.minimum(1, np.exp(1 - sums[..., -1] / sums[..., -2]))
    return np.where(sums[..., -2] > 0, penalty * shares ** (1 / length), 0.0)


def _matching(rows: Sequence[Row], pairs: Sequence[Row]) -> dict[str, SampleScore]:
    right = [(row.prediction["probability"] >= 0.5) == bool(row.truth["label"]) for row in rows]
    scores = {"accuracy": _score(rows, beside_ones(right))}
    images, texts = (list(dict.fromkeys(row.truth[name] for row in (*rows, *pairs))) for name in ("image", "text"))
    similarity = _by_probability(pairs, images, texts) if pairs else _by_embedding(rows, images, texts)
    if similarity is None:
        return scores
    known = [(row.truth["image"], row.truth["text"]) for row in (*rows, *pairs) if row.truth["label"]]
    known += [(row.truth["image"], text) for row in (*rows, *pairs) for text in row.truth["captions"]]
    fits = true_pairs(images, texts, known).numpy()
    group = {row.truth["image"]: row.group for row in (*pairs, *rows)}
    # A caption belongs to the group of the first picture that it is true of.
    owners = [images[int(place)] for place in fits.argmax(axis=0)]
    for way, keys, table, truth, groups in (
        ("image_to_text", images, similarity, fits, [group[name] for name in images]),
        ("text_to_image", texts, similarity.T, fits.T, [group[name] for name in owners]),
    ):
        asked = np.flatnonzero(truth.any(axis=1))
        above = _wrong_above(table[asked], truth[asked])
        for k in TOP:
            scores[f"{way}_top{k}"] = SampleScore(
                tuple(keys[row] for row in asked), tuple(groups[row] for row in asked), beside_ones(above < k), ratio
            )
    return scores


def _wrong_above(similarity: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Wrong candidates that are at least as similar as the best right one, by query; see ``metrics.top_k``."""
    best = np.where(right, similarity, -np.inf).max(axis=1, keepdims=True)
    return ((similarity >= best) & ~right).sum(axis=1)


def _by_probability(pairs: Sequence[Row], images: Sequence[str], texts: Sequence[str]) -> np.ndarray | None:
    said = {(row.truth["image"], row.truth["text"]): row.prediction["probability"] for row in pairs}
    if len(said) < len(images) * len(texts):
        return None
    return np.array([[said[image, text] for text in texts] for image in images])


def _by_embedding(rows: Sequence[Row], images: Sequence[str], texts: Sequence[str]) -> np.ndarray | None:
    found: dict[str, dict[str, Sequence[float]]] = {"image": {}, "text": {}}
    for row in rows:
        for name, by_content in found.items():
            if name in row.prediction.get("embeddings", {}):
                by_content.setdefault(row.truth[name], row.prediction["embeddings"][name])
    if len(found["image"]) < len(images) or len(found["text"]) < len(texts):
        return None
    return np.array([found["image"][name] for name in images]) @ np.array([found["text"][name] for name in texts]).T


_SCORERS: dict[str, Callable[[Sequence[Row], DataDescription], dict[str, SampleScore]]] = {
    "multilabel": _labels,
    "regression": _numbers,
    "vqa": _answers,
    "captioning": _captions,
}
