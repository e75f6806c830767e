"""Questions of a derived data set answered from predicted cells, and captions of the same images, with prompts too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from cellseg.datasets.staging import staging
from cellseg.errors import InputError, MissingFileError
from cellseg.io.files import read_json, write_json
from cellseg.multimodal.derive.answer_scores import Asked, read_questions
from cellseg.multimodal.derive.dataset import make_captions
from cellseg.multimodal.derive.dataset_files import CAPTIONS, FACTS, FORMAT, QUESTIONS, SUMMARY, check_out
from cellseg.multimodal.derive.described import Described, Wanted, read_described, read_wanted
from cellseg.multimodal.derive.facts import ImageFacts, SizeLimits, known_types, measure_facts
from cellseg.multimodal.derive.phrases import QUESTIONS as KINDS
from cellseg.multimodal.derive.phrases import check_types
from cellseg.multimodal.derive.prompts import reply
from cellseg.multimodal.derive.questions import NUMBERED, answer
from cellseg.multimodal.derive.sources import TypedCells

ANSWERS = "answers.json"
REPLIES = "replies.json"
_AGAIN = "run derive_text.py dataset again"


@dataclass(frozen=True)
class AnswerResult:
    """What was written.

    Attributes:
        images, questions: how many there are in the split.
        answered: questions with an answer.
        types: cell types that the predictions know.
    """

    images: int
    questions: int
    answered: int
    types: tuple[str, ...]


def answer_dataset(
    root: str | Path, submission: str | Path, out: str | Path, split: str = "test", overwrite: bool = False
) -> AnswerResult:
    """Write ``answers.json``, ``captions.json`` and ``replies.json``, which ``derive_text.py score`` reads.

    The questions are those of the data set, chosen by true answers; the answers follow from predicted cells alone.
    Small and large mean what they mean in the data set. A question that the predictions cannot answer is left out,
    and the reply to a prompt of which they know nothing is empty.

    Args:
        root: folder of the data set.
        submission: the cells, see ``TypedCells.open``.
        out: folder to write, complete or not at all.
        split: of the data set.
        overwrite: replace ``out`` if it holds such answers.

    Raises:
        MissingFileError: a file does not exist.
        InputError: an option or a file cannot be used, or the predictions lack an image of the split.
    """
    root, out = Path(root), Path(out)
    check_out(out, overwrite, own=(ANSWERS, CAPTIONS, REPLIES), mark=ANSWERS)
    if not (root / SUMMARY).is_file():
        raise MissingFileError(f"{root / SUMMARY}: no such file; --data is a folder that derive_text.py dataset wrote")
    limits, seed = _read_summary(root / SUMMARY)
    types, images = _read_images(root, split)
    questions = _read_questions(root / QUESTIONS, split, {image.image_id for image in images})
    _, wanted = read_wanted(root, prompted=True)
    cells = TypedCells.open(submission, types)
    known = known_types(cells.class_names)
    check_types(known)
    cells.check_keys(
        [image.facts.key for image in images], "choose a --split that it covers, or segment the images that it lacks"
    )
    facts = {image.image_id: _measure(image.facts, cells, limits) for image in tqdm(images, desc=split, disable=None)}
    answers = _answer_all(questions, facts)
    captions = [
        {"image_id": number, "caption": make_captions(one, 1, seed)[0]} for number, one in sorted(facts.items())
    ]
    replies = _reply_all([one for one in wanted if one.image_id in facts], facts, seed)
    with staging(out) as scratch:
        write_json(scratch / ANSWERS, answers)
        write_json(scratch / CAPTIONS, captions)
        write_json(scratch / REPLIES, replies)
    return AnswerResult(len(images), len(questions), len(answers), known)


def _measure(true: ImageFacts, cells: TypedCells, limits: SizeLimits | None) -> ImageFacts:
    """Facts of an image from its predicted cells; of the true ones only its name and size are used."""
    return measure_facts(true.key, cells.load(true.key, (true.height, true.width)), limits)


def _answer_all(questions: Sequence[Asked], facts: Mapping[int, ImageFacts]) -> list[dict[str, int | str]]:
    answers = [(item.number, answer(facts[item.image_id], item.kind, item.value)) for item in questions]
    return [{"question_id": number, "answer": text} for number, text in answers if text is not None]


def _reply_all(wanted: Sequence[Wanted], facts: Mapping[int, ImageFacts], seed: int) -> list[dict[str, int | str]]:
    return [
        {
            "image_id": one.image_id,
            "prompt": one.prompt,
            "caption": next(iter(reply(facts[one.image_id], one.kind, 1, seed)), ""),
        }
        for one in wanted
    ]


def _read_summary(path: Path) -> tuple[SizeLimits | None, int]:
    """What small and large mean, and the seed of phrasings."""
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path}: not the summary of a derived data set (expected format {FORMAT!r}); {_AGAIN}")
    try:
        limits, seed = content["size_limits"], content["options"]["seed"]
        limits = None if limits is None else SizeLimits(float(limits["small"]), float(limits["large"]))
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: damaged, size_limits or options.seed cannot be used; {_AGAIN}") from None
    return limits, seed


def _read_images(root: Path, split: str) -> tuple[tuple[str, ...], list[Described]]:
    """Types of the data set and images of a split."""
    types, images = read_described(root)
    chosen = [image for image in images if image.split == split]
    if not chosen:
        there = ", ".join(dict.fromkeys(image.split for image in images)) or "none"
        raise InputError(
            f"{root / FACTS}: no images of the split {split!r}; choose another --split (there are: {there})"
        )
    return types, chosen


def _read_questions(path: Path, split: str, images: set[int]) -> list[Asked]:
    """Questions of a split, of which is known what they ask."""
    questions = [item for item in read_questions(path) if item.split == split]
    for item in questions:
        where = f"{path}: question {item.number}"
        if item.kind not in KINDS:
            raise InputError(f"{where}: question_type {item.kind!r} is none of {', '.join(KINDS)}; {_AGAIN}")
        if item.value is None:
            raise InputError(f"{where}: has no question_value, which older versions did not write; {_AGAIN}")
        if item.kind in NUMBERED and not (item.value.isascii() and item.value.isdecimal()):
            raise InputError(f"{where}: question_value {item.value!r}: expected a whole number; {_AGAIN}")
        if item.image_id not in images:
            raise InputError(f"{where}: image {item.image_id} is not among those of {FACTS}; {_AGAIN}")
    return questions
