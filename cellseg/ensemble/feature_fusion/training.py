"""What the training of a feature fusion puts into mmengine's registries: network, samples, score, check on resuming."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from inspect import signature
from pathlib import Path
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import Dataset

from cellseg.ensemble.feature_fusion.data import load_fusion_data
from cellseg.errors import InputError
from cellseg.models.fusion_network import FeatureFusionNetwork, FusionDescription


@MODELS.register_module()
def fusion_network_of(evidence: Mapping[str, Any], **options: Any) -> FeatureFusionNetwork:
    """The network for the members of an ensemble; collects their evidence, which the samples are made of.

    Args:
        evidence: see ``load_fusion_data``.
        **options: the other arguments of ``FeatureFusionNetwork``.
    """
    # A training begins here, and with it anew whatever the files say by now.
    load_fusion_data.cache_clear()
    return FeatureFusionNetwork(load_fusion_data(**parse_source(evidence)).description, **options)


@DATASETS.register_module()
class FusedBoxes(Dataset):
    """Fused boxes with evidence, features and targets; items are the arguments of ``FeatureFusionNetwork.forward``.

    Args:
        evidence: see ``load_fusion_data``.
    """

    def __init__(self, evidence: Mapping[str, Any]):
        self.data = load_fusion_data(**parse_source(evidence))

    @property
    def metainfo(self) -> dict[str, Any]:
        """What mmengine hands to metrics."""
        return {"classes": self.data.description.class_names}

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        names = ("evidence", "confidence", "features", "part", "target", "weight")
        return {name: getattr(self.data, name)[index] for name in names}


@METRICS.register_module()
class SoftIoUMetric(BaseMetric):
    """Mean soft IoU of the boxes that have a true cell, each answered by the network that never saw its image.

    ``soft_iou`` is the fusion's, ``mean_soft_iou`` that of the plain mean of the same evidence.
    """

    default_prefix = ""  # without one, mmengine warns

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the scores of a batch."""
        self.results.extend(
            (sample["soft_iou"], sample["mean_soft_iou"]) for sample in data_samples if sample["true_cell"]
        )

    def compute_metrics(self, results: list[tuple[float, float]]) -> dict[str, float]:
        """Means over all boxes."""
        own, plain = (sum(values) / len(results) for values in zip(*results, strict=True))
        return {"soft_iou": own, "mean_soft_iou": plain}


@HOOKS.register_module()
class SameEvidenceHook(Hook):
    """Refuses to continue a training with the evidence of other members or images than it began with."""

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare the description in the checkpoint with the network's own."""
        known = FusionDescription.from_tensor(checkpoint["state_dict"].get("description"), "the checkpoint")
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        current = model.about
        other = [name for name, value in asdict(current).items() if asdict(known)[name] != value]
        if other:
            raise InputError(
                f"{runner.work_dir}: --resume: the training began with other evidence (different: {', '.join(other)}); "
                "start afresh with --overwrite"
            )


def parse_source(source: Mapping[str, Any]) -> dict[str, Any]:
    """The ``evidence`` of a training config as arguments of ``load_fusion_data``.

    Raises:
        InputError: an unknown, missing or unusable entry; names it.
    """
    known = signature(load_fusion_data).parameters.keys()
    wrong = sorted(source.keys() ^ known)
    if wrong:
        kind = "unknown" if wrong[0] in source else "missing"
        raise InputError(f"evidence.{wrong[0]}: {kind}; expected are {', '.join(sorted(known))}")
    values = dict(source)
    options = values["ensemble_options"]
    # On the command line, one text with blanks is easier to give than a list.
    options = options.split() if isinstance(options, str) else options
    if not isinstance(options, list | tuple) or not all(isinstance(option, str) for option in options):
        raise InputError(f"ensemble_options: expected texts KEY=VALUE, found {options!r}")
    inputs = values["inputs"]
    named = isinstance(inputs, list | tuple) and inputs and all(isinstance(name, str) for name in inputs)
    if inputs is not None and not named:
        raise InputError(f"inputs: expected a list of members' names or None, found {inputs!r}")
    if not isinstance(values["use_features"], bool):
        raise InputError(f"use_features: expected True or False, found {values['use_features']!r}")
    weight = values["empty_weight"]
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
        raise InputError(f"empty_weight: expected 0 to 1, found {weight!r}")
    for name in ("cache", "device"):
        if values[name] is not None and not isinstance(values[name], str):
            raise InputError(f"{name}: expected a text or None, found {values[name]!r}")
    if not Path(str(values["ensemble"])).is_file():
        raise InputError(f"ensemble: {values['ensemble']!r}: no such config file; give the ensemble's")
    return {**values, "ensemble_options": tuple(options), "inputs": None if inputs is None else tuple(inputs)}
