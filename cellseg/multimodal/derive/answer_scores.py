"""What answers to questions are worth: accuracy beside what one gets without looking at the images."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellseg.errors import InputError
from cellseg.io.files import read_json
from cellseg.multimodal.data.answers import normalise_answer

TRAIN = "train"
ALL = "all"


@dataclass(frozen=True)
class Asked:
    """A question of a file in VQA form.

    Attributes:
        number: its id.
        split: of its image.
        kind: ``question_type``; empty where the file has none.
        text: the question, in lower case without outer blanks.
        answer: the true answer, written the same way.
        image_id: of its image.
        value: ``question_value``, the type or number that it asks about; None where the file does not say.
    """

    number: int
    split: str
    kind: str
    text: str
    answer: str
    image_id: int | None = None
    value: str | None = None


def read_questions(path: str | Path) -> list[Asked]:
    """Questions of a single-file VQA set whose images have a ``split``.

    Raises:
        MissingFileError: there is no such file.
        InputError: it has another form, or images without split; the text names the entry.
    """
    content = read_json(path)
    parts = [content.get(name) if isinstance(content, dict) else None for name in ("images", "annotations")]
    if not all(isinstance(part, list) for part in parts):
        raise InputError(f"{path}: not a single VQA file (expected the lists images and annotations)")
    splits: dict[int, str] = {}
    for number, image in enumerate(parts[0]):
        if not isinstance(image, dict) or type(image.get("id")) is not int:
            raise InputError(f"{path}: images[{number}] has no whole number as id")
        if not isinstance(image.get("split"), str):
            raise InputError(
                f"{path}: images[{number}] has no split; baselines are learnt on train and scored elsewhere, so give "
                "each image a split"
            )
        splits[image["id"]] = image["split"]
    asked, seen = [], set()
    for number, entry in enumerate(parts[1]):
        where = f"{path}: annotations[{number}]"
        texts = [entry.get(name) if isinstance(entry, dict) else None for name in ("question", "answer")]
        if not all(isinstance(text, str) and text.strip() for text in texts) or type(entry.get("id")) is not int:
            raise InputError(f"{where}: expected id, image_id, question and answer")
        if type(entry.get("image_id")) is not int or entry["image_id"] not in splits:
            raise InputError(f"{where}: image_id {entry.get('image_id')!r} is not among the images")
        if entry["id"] in seen:
            raise InputError(f"{where}: id {entry['id']} is used twice")
        seen.add(entry["id"])
        kind, value = str(entry.get("question_type", "")), entry.get("question_value")
        text, answer = map(_plain, texts)
        value = value if isinstance(value, str) else None
        asked.append(Asked(entry["id"], splits[entry["image_id"]], kind, text, answer, entry["image_id"], value))
    return asked


def read_answers(path: str | Path, questions: Sequence[Asked]) -> dict[int, str]:
    """A model's answers by question, in the form of VQA results: a list of ``{question_id, answer}``.

    Raises:
        MissingFileError: there is no such file.
        InputError: it has another form, or a question comes twice or is unknown; the text names the entry.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise InputError(f"{path}: expected a list of entries with question_id and answer")
    known = {question.number for question in questions}
    answers: dict[int, str] = {}
    for number, entry in enumerate(content):
        where = f"{path}: entry {number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("answer"), str):
            raise InputError(f"{where}: expected question_id and answer")
        identity = entry.get("question_id")
        if type(identity) is not int or identity not in known:
            raise InputError(f"{where}: no question {identity!r} in the file of the questions")
        if identity in answers:
            raise InputError(f"{where}: a second answer to question {identity}")
        answers[identity] = _plain(entry["answer"])
    return answers


def score_answers(questions: Sequence[Asked], answers: Mapping[int, str] | None = None) -> dict[str, Any]:
    """Accuracy of the baselines, and of answers where they are given.

    Args:
        questions: of all splits; the baselines learn from ``train``.
        answers: by question id. A split without any is not scored; in others a question without answer is wrong.

    Returns:
        By split and kind (and ``all``): ``questions``, ``majority`` (always the most frequent training answer),
        ``question_only`` (the most frequent training answer to the same question; where it was never asked, to its
        kind; else the majority) and ``answers`` (None where not given). Equal frequencies are decided by alphabet.
        An answer is right in any spelling that ``normalise_answer`` makes the same: models choose from such answers.

    Raises:
        InputError: there are no training questions.
    """
    training = [question for question in questions if question.split == TRAIN]
    if not training:
        raise InputError("no questions of the split train, which the baselines learn from")
    guesses = {"majority": _majority(training), "question_only": _question_only(training)}
    result: dict[str, Any] = {}
    for split in dict.fromkeys(question.split for question in questions):
        mine = [question for question in questions if question.split == split]
        given = answers is not None and any(question.number in answers for question in mine)
        kinds = sorted({question.kind for question in mine} - {""})
        result[split] = {}
        for kind in (ALL, *kinds):
            chosen = [question for question in mine if kind in (ALL, question.kind)]
            rates = {name: _accuracy(chosen, guess) for name, guess in guesses.items()}
            rates["answers"] = _accuracy(chosen, lambda question: answers.get(question.number)) if given else None
            result[split][kind] = {"questions": len(chosen), **rates}
    return result


def _majority(training: Sequence[Asked]) -> Callable[[Asked], str]:
    answer = _commonest(Counter(question.answer for question in training))
    return lambda question: answer


def _question_only(training: Sequence[Asked]) -> Callable[[Asked], str]:
    by_text: dict[str, Counter[str]] = defaultdict(Counter)
    by_kind: dict[str, Counter[str]] = defaultdict(Counter)
    for question in training:
        by_text[question.text][question.answer] += 1
        by_kind[question.kind][question.answer] += 1
    texts = {text: _commonest(counts) for text, counts in by_text.items()}
    kinds = {kind: _commonest(counts) for kind, counts in by_kind.items()}
    overall = _majority(training)
    return lambda question: texts.get(question.text) or kinds.get(question.kind) or overall(question)


def _commonest(counts: Mapping[str, int]) -> str:
    return min(counts, key=lambda answer: (-counts[answer], answer))


def _accuracy(questions: Sequence[Asked], guess: Callable[[Asked], str | None]) -> float:
    right = sum(_same(guess(question), question.answer) for question in questions)
    return round(right / len(questions), 4)


def _same(answer: str | None, truth: str) -> bool:
    return answer is not None and normalise_answer(answer) == normalise_answer(truth)


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
