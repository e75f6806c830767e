"""The rows of a comparison: which settings each stands for, and what it finds in an image."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from cellseg.ensemble.boxes.options import FusionOptions
from cellseg.ensemble.comparison.file import ENSEMBLE, MATCHING, MEMBER, VARIANT, VOTE
from cellseg.ensemble.evidence.answers import Answers
from cellseg.ensemble.evidence.collect import asked_members, box_sources, collect_evidence
from cellseg.ensemble.evidence.values import ImageEvidence
from cellseg.ensemble.matching.match import MatchOptions, match_members
from cellseg.ensemble.settings import EnsembleSettings
from cellseg.ensemble.votes.resolve import resolve
from cellseg.ensemble.votes.schemes import SCHEMES
from cellseg.errors import InputError
from cellseg.members import Member
from cellseg.structures import Instances


@dataclass(frozen=True)
class RowPlan:
    """How a row comes to its instances.

    Attributes:
        name: of the row.
        kind: see ``comparison_file.KINDS``.
        settings: of the vote; None: the instances of the members alone are matched.
    """

    name: str
    kind: str
    settings: EnsembleSettings | None


def plan_rows(
    members: Sequence[Member], settings: EnsembleSettings, votes: Sequence[str] = (), combine: str = "vote"
) -> tuple[RowPlan, ...]:
    """Every member alone, variants of the settings, vote schemes, matched instances, and the ensemble, in this order.

    What the settings do not have, variants or options of matching, makes no row. A member without boxes of its own
    makes no instances alone.

    Args:
        members: of the ensemble.
        settings: as tuned.
        votes: schemes that get a row each, with the settings of the ensemble otherwise.
        combine: how the ensemble combines its members, ``vote`` or ``match``.

    Raises:
        InputError: an unknown scheme, or two rows of one name.
    """
    unknown = [scheme for scheme in votes if scheme not in SCHEMES]
    if unknown:
        raise InputError(f"--votes {unknown[0]}: unknown; the schemes are {', '.join(SCHEMES)}")
    plans = [RowPlan(member.name, MEMBER, settings.only([member.name])) for member in members if member.proposes]
    plans += [RowPlan(name, VARIANT, variant) for name, variant in settings.variants.items()]
    plans += [RowPlan(f"{scheme} vote", VOTE, replace(settings, vote=scheme)) for scheme in dict.fromkeys(votes)]
    matched = combine == "match"
    several = sum(member.proposes for member in members) > 1
    if settings.matching is not None and several and not matched:
        plans.append(RowPlan(MATCHING, MATCHING, None))
    plans.append(RowPlan(ENSEMBLE, ENSEMBLE, None if matched else settings))
    names = [plan.name for plan in plans]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"two rows of the comparison would have the name {twice[0]!r}; rename the member or variant")
    return tuple(plans)


class RowPredictor:
    """Finds the instances of every row in an image; each member looks at an image once for all rows.

    Args:
        plans: from ``plan_rows``; members alone come before what is made of them.
        members: of the ensemble.
        fusion: how boxes are fused.
        matching: options for rows that match instances.
    """

    def __init__(
        self, plans: Sequence[RowPlan], members: Sequence[Member], fusion: FusionOptions, matching: MatchOptions
    ):
        self._plans, self._members, self._fusion, self._matching = tuple(plans), tuple(members), fusion, matching

    def predict(self, image_size: tuple[int, int], ask: Callable[[Member], Answers]) -> dict[str, Instances]:
        """Instances of each row.

        Args:
            image_size: (height, width).
            ask: the answers of a member about the image.
        """
        answers = {member.name: ask(member) for member in self._members}
        known: dict[tuple, ImageEvidence] = {}
        found: dict[str, Instances] = {}
        with torch.inference_mode():
            for plan in self._plans:
                if plan.settings is None:
                    alone = {one.name: found[one.name] for one in self._plans if one.kind == MEMBER}
                    found[plan.name] = match_members(alone, self._matching)
                else:
                    evidence = self._evidence(plan.settings, answers, image_size, known)
                    found[plan.name] = resolve(evidence, plan.settings)
        return found

    def _evidence(
        self,
        settings: EnsembleSettings,
        answers: Mapping[str, Answers],
        image_size: tuple[int, int],
        known: dict[tuple, ImageEvidence],
    ) -> ImageEvidence:
        """Evidence for the boxes that the settings ask for; rows that ask for the same share it."""
        active = settings.weight_table() > 0
        voters = [name for name, row in zip(settings.members, active, strict=True) if row.any()]
        asked = asked_members(self._members, voters)
        names = tuple(member.name for member in asked)
        sources = box_sources(settings.weight_table(names) > 0, asked, self._fusion)
        options = self._fusion.with_margin(settings.margin)
        key = (names, tuple(sources.flatten().tolist()), options.margin)
        if key not in known:
            known[key] = collect_evidence([answers[name] for name in names], sources, options, image_size)
        return known[key]
