"""Prompts that ask for one thing or for all, with captions that say just that."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from cellseg.multimodal.derive.facts import ImageFacts
from cellseg.multimodal.derive.phrases import QUESTIONS, TRAITS, Slots, caption, choose, slots_of

# Attempts at another phrasing for each caption that is wanted.
_ATTEMPTS = 10


@dataclass(frozen=True)
class PromptKind:
    """What a kind of prompt asks for.

    Attributes:
        slots: that the caption states, as far as they are true of the image.
        phrasings: of the prompt.
    """

    slots: tuple[str, ...]
    phrasings: tuple[str, ...]


PROMPTS = {
    "count": PromptKind(("count",), QUESTIONS["count"]),
    "cell_type": PromptKind(("cell_type",), QUESTIONS["cell_type"]),
    "confluence": PromptKind(("confluence",), QUESTIONS["confluence"]),
    "looks": PromptKind(
        tuple(TRAITS), ("What do most cells look like?", "Describe the cells.", "What can be said of most cells?")
    ),
    "all": PromptKind(
        ("count", "cell_type", "confluence", *TRAITS),
        ("Describe the image.", "What does the image show?", "Say all about the image."),
    ),
}


@dataclass(frozen=True)
class Prompt:
    """A prompt about one image.

    Attributes:
        key: id of the image.
        kind: a key of ``PROMPTS``.
        text: the prompt.
    """

    key: str
    kind: str
    text: str


def make_prompts(facts: ImageFacts, seed: int = 0) -> Iterator[Prompt]:
    """A prompt of every kind that has something to say.

    Images with a cell or none are only counted and described: of most cells nothing can be said.

    Args:
        facts: of the image.
        seed: decides between phrasings.
    """
    slots = slots_of(facts)
    for kind, about in PROMPTS.items():
        if kind in ("count", "all") or (facts.count > 1 and wanted_slots(slots, kind) != Slots()):
            yield Prompt(facts.key, kind, choose(about.phrasings, "prompt", seed, facts.key, kind))


def wanted_slots(slots: Slots, kind: str) -> Slots:
    """What of the slots a kind of prompt asks for."""
    return Slots(**{name: value for name, value in asdict(slots).items() if name in PROMPTS[kind].slots})


def reply(facts: ImageFacts, kind: str, count: int, seed: int) -> list[str]:
    """Different captions that state what a kind of prompt asks for.

    Args:
        facts: of the image.
        kind: a key of ``PROMPTS``.
        count: how many captions at most; there are fewer where the phrasings run out.
        seed: decides between phrasings.

    Returns:
        None of them where the facts have nothing to say.
    """
    slots = wanted_slots(slots_of(facts), kind)
    if slots == Slots():
        return []
    if slots.confluence == 0:
        # How little is covered is said by there being no cells.
        slots = replace(slots, count=0)
    attempts = (caption(slots, "reply", seed, facts.key, kind, attempt) for attempt in range(_ATTEMPTS * count))
    return list(dict.fromkeys(attempts))[:count]
