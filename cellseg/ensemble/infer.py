"""Ensemble inference as a command runs it: config, weights, images, results."""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from cellseg.ensemble.combination import COMBINATIONS
from cellseg.ensemble.config import EnsembleConfig
from cellseg.ensemble.folder_run import FolderRun, RunReport
from cellseg.ensemble.inputs import find_inputs
from cellseg.ensemble.pipeline import Ensemble
from cellseg.ensemble.provenance import describe_members, versions
from cellseg.errors import InputError


def infer_folder(
    config: EnsembleConfig,
    source: str,
    out: str | Path,
    weights: str | Path | None = None,
    formats: Sequence[str] = ("submission",),
    members: Sequence[str] | None = None,
    device: str | None = None,
    overwrite: bool = False,
) -> RunReport:
    """Segment images with an ensemble and write what was found.

    Args:
        config: the ensemble.
        source: the images, see ``find_inputs``.
        out: folder for the results.
        weights: a weights file; None: the settings of the config.
        formats: see ``FolderRun``.
        members: names of the members that take part; None: all.
        device: for all members, over what the config says.
        overwrite: see ``FolderRun``.

    Raises:
        InputError: members, weights, images or a folder that cannot be used.
    """
    unknown = [name for name in members or () if name not in config.names]
    if unknown:
        raise InputError(f"{config.path}: no member {unknown[0]!r}; it has {', '.join(config.names)}")
    inputs = find_inputs(source, config.fold)
    if inputs.passed_over:
        print(f"{source}: {inputs.passed_over} files that are no images were passed over", file=sys.stderr)
    built = config.build(members, device)
    identities = describe_members(built)
    class_names = tuple(built[0].class_names)
    if weights is None:
        settings = config.parse_settings(class_names)
    else:
        settings, provenance = config.load_settings(weights, class_names)
        _note_other_members(weights, provenance.get("members"), identities)
    settings = COMBINATIONS[config.combine].relevant(settings, members or config.names)
    ensemble = Ensemble(built, settings, config.fusion, combine=config.combine)
    devices = sorted({torch.device(device or spec.get("device", "cpu")).type for spec in config.members})
    run = FolderRun(
        out,
        provenance={
            "tool": "ensemble_infer",
            "versions": versions(),
            "members": identities,
            "combine": config.combine,
            "fusion": config.fusion.to_dict(),
            "settings": settings.to_dict(),
            "device": "+".join(devices),
        },
        formats=formats,
        overwrite=overwrite,
    )
    return run.run(inputs.images, ensemble.predict, inputs.skipped)


def _note_other_members(weights: str | Path, tuned: object, identities: dict[str, str]) -> None:
    if not isinstance(tuned, dict):
        return
    changed = [name for name, identity in identities.items() if tuned.get(name) != identity]
    if changed:
        print(
            f"{weights}: tuned with other checkpoints or options of {', '.join(changed)}; it is better to tune again",
            file=sys.stderr,
        )
