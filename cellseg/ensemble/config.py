"""Ensemble configs: which members, how boxes are fused, and the settings to start from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cellseg.ensemble.boxes.options import FusionOptions, parse_fusion
from cellseg.ensemble.combination import COMBINATIONS
from cellseg.ensemble.evidence.averaging import build_averaged
from cellseg.ensemble.feature_fusion.combiner import Combiner
from cellseg.ensemble.matching.match import MatchOptions, parse_match_options, weights_of
from cellseg.ensemble.settings import EnsembleSettings
from cellseg.ensemble.weights_file import load_weights, parse_settings
from cellseg.errors import InputError
from cellseg.members import Member
from cellseg.training.config import read_config

_KEYS = ("data_root", "fold", "members", "fusion", "settings", "combine", "matching")


@dataclass(frozen=True)
class EnsembleConfig:
    """An ensemble config, read and checked as far as that goes without its members.

    Attributes:
        path: the file, for messages.
        data_root: the data folder that tuning takes its images from.
        fold: which fold.
        members: the arguments of ``build_member`` for each member.
        fusion: how boxes are fused.
        settings: as in the file; they need the cell types to be checked.
        combine: how the members are combined, a key of ``COMBINATIONS``.
        matching: options for ``combine = "match"``; None: none are given.
    """

    path: str
    data_root: str
    fold: int
    members: tuple[dict[str, Any], ...]
    fusion: FusionOptions
    settings: dict[str, Any]
    combine: str = "vote"
    matching: MatchOptions | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the members, in order."""
        return tuple(member_name(spec) for spec in self.members)

    def build(self, names: Sequence[str] | None = None, device: str | None = None) -> list[Member]:
        """Load the members, in order.

        Args:
            names: only these, and what the combiners among them read; None: all.
            device: for all of them, over what the config says.
        """
        changes = {} if device is None else {"device": device}
        specs = {member_name(spec): {**spec, **changes} for spec in self.members}
        built = {name: build_averaged(spec) for name, spec in specs.items() if names is None or name in names}
        for combiner in [member for member in built.values() if isinstance(member, Combiner)]:
            for name in combiner.inputs:
                if name in specs and name not in built:
                    built[name] = build_averaged(specs[name])
        return [built[name] for name in specs if name in built]

    def with_unsafe_load(self) -> "EnsembleConfig":
        """The same ensemble, whose members load checkpoints that can run code; see ``--unsafe-load``."""
        return replace(self, members=tuple({**spec, "unsafe_load": True} for spec in self.members))

    def parse_settings(self, class_names: Sequence[str]) -> EnsembleSettings:
        """The config's own settings."""
        content = dict(self.settings)
        types = content.pop("types", {})
        if "margin" in content:
            raise InputError(f"{self.path}: settings.margin: in a config, the margin stands in fusion.margin")
        settings = parse_settings(
            {"global": content, "types": types}, self.names, class_names, f"{self.path}: settings"
        )
        return replace(settings, matching=self.matching)

    def load_settings(self, weights: str | Path, class_names: Sequence[str]) -> tuple[EnsembleSettings, dict[str, Any]]:
        """Settings and provenance of a weights file that was tuned for this ensemble.

        Options of matching are those of the config where the file has none.

        Raises:
            InputError: it belongs to other members, types or fusion options.
        """
        settings, provenance = load_weights(weights, self.names, class_names)
        tuned = provenance.get("fusion")
        if tuned is not None and tuned != self.fusion.to_dict():
            known = tuned if isinstance(tuned, dict) else {}
            other = [key for key, value in self.fusion.to_dict().items() if known.get(key) != value] or ["fusion"]
            raise InputError(
                f"{weights}: tuned with another fusion than {self.path} has (different: {', '.join(other)}); tune again"
            )
        return (settings if settings.matching else replace(settings, matching=self.matching)), provenance


def load_ensemble_config(path: str | Path, options: Mapping[str, Any] | None = None) -> EnsembleConfig:
    """Read an ensemble config. It is Python and gets executed: open only configs that you trust.

    Args:
        path: the config file, with ``data_root``, ``fold``, ``members``, ``fusion``, ``settings``, ``combine`` and
            ``matching`` (only the members must be there).
        options: dotted keys and their values, over what the file says.

    Raises:
        MissingFileError: there is no such file.
        InputError: an unknown key, members that have no name of their own, or a value that cannot be used.
    """
    config = read_config(path)
    for key in options or {}:
        if key.split(".")[0] not in config:
            raise InputError(f"{path}: --cfg-options {key}: the config has no {key.split('.')[0]!r}")
    config.merge_from_dict(dict(options or {}))
    content = config.to_dict()
    unknown = [key for key in content if key not in _KEYS]
    if unknown:
        raise InputError(f"{path}: {unknown[0]}: unknown key; an ensemble config has {', '.join(_KEYS)}")
    members = content.get("members")
    if not isinstance(members, list | tuple) or not members or not all(isinstance(spec, dict) for spec in members):
        raise InputError(f"{path}: members: expected a list with a dict for each member")
    names = [member_name(spec) for spec in members]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{path}: members: the name {twice[0]!r} stands twice; give each member its own name")
    for key, kind in (("fusion", dict), ("settings", dict), ("data_root", str), ("fold", int), ("combine", str)):
        if not isinstance(content.get(key, kind()), kind):
            raise InputError(f"{path}: {key}: expected a {kind.__name__}, found {content[key]!r}")
    return EnsembleConfig(
        path=str(path),
        data_root=content.get("data_root", ""),
        fold=content.get("fold", 0),
        members=tuple(dict(spec) for spec in members),
        fusion=parse_fusion(content.get("fusion", {}), names, str(path)),
        settings=content.get("settings", {}),
        **_parse_combination(content, names, str(path)),
    )


def _parse_combination(content: Mapping[str, Any], names: Sequence[str], path: str) -> dict[str, Any]:
    """How members are combined, as arguments of ``EnsembleConfig``."""
    combine = content.get("combine", "vote")
    if combine not in COMBINATIONS:
        raise InputError(f"{path}: combine: {combine!r} is none of {', '.join(COMBINATIONS)}")
    if "matching" not in content:
        return {"combine": combine}
    if combine != "match":
        raise InputError(f"{path}: matching: does nothing with combine = {combine!r}; set combine = 'match'")
    matching = parse_match_options(content["matching"], f"{path}: matching")
    try:
        weights_of(names, matching)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return {"combine": combine, "matching": matching}


def member_name(spec: Mapping[str, Any]) -> str:
    """Name of a member in a config: its ``name``, or else its ``type``."""
    return str(spec.get("name", spec.get("type")))
