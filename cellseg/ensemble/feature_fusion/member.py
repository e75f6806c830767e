"""The feature fusion in an ensemble: a combiner whose probability, made from the members' answers, joins the vote."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cellseg.ensemble.feature_fusion.combiner import Combiner
from cellseg.ensemble.votes.window_grids import sample_grids
from cellseg.errors import InputError
from cellseg.io.files import file_hash
from cellseg.members.stretch import stretch_grids
from cellseg.models.fusion_network import GRID, FeatureFusionNetwork, FusionDescription, apply_correction
from cellseg.openmmlab import load_checkpoint_file
from cellseg.structures import CropMasks
from cellseg.training.config import read_config

BOXES_AT_ONCE = 256


class FeatureFusionMember(Combiner):
    """A trained feature fusion.

    An image that it was trained on, known by its content, is answered by the network that never saw it or its group;
    any other by the mean of all networks. So weights may be tuned on the images that the fusion was trained on.

    Args:
        name: unique within the ensemble.
        config: the ``config.py`` that its training wrote.
        checkpoint: its ``best.pth``.
        device: torch device.
        unsafe_load: load the checkpoint without torch's restriction to plain weights.

    Raises:
        InputError: files that are missing, of another kind, or do not fit each other.
    """

    def __init__(
        self,
        name: str,
        config: str | Path,
        checkpoint: str | Path,
        device: str = "cpu",
        unsafe_load: bool = False,
    ):
        self.name = name
        self.device = device
        training = read_config(config)
        settings = dict(training.get("model", {}))
        if settings.pop("type", None) != "fusion_network_of":
            raise InputError(f"{config}: member {name!r} needs the config.py of a feature fusion's training")
        settings.pop("evidence", None)
        loaded = load_checkpoint_file(checkpoint, unsafe=unsafe_load)
        weights = loaded.get("state_dict") if isinstance(loaded, dict) else None
        if not isinstance(weights, dict):
            raise InputError(f"{checkpoint}: no state_dict in it; give a best.pth that tools/train.py wrote")
        self.about = FusionDescription.from_tensor(weights.get("description"), str(checkpoint))
        try:
            self.network = FeatureFusionNetwork(self.about, **settings)
            self.network.load_state_dict(weights)
        except (RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"{checkpoint}: its weights do not fit the network of {config}") from error
        self.network.to(device).eval()
        self.class_names = self.about.class_names
        self.inputs = self.about.inputs
        self.input_identities = dict(self.about.identities)
        self.uses_features = self.about.uses_features
        self.hashes = dict(config=file_hash(config), checkpoint=file_hash(checkpoint))

    def identity(self) -> dict[str, Any]:
        """Hashes of config and checkpoint; the checkpoint holds those of the inputs."""
        return {"name": self.name, "answers_version": self.answers_version, **self.hashes}

    @torch.no_grad()
    def combine(
        self,
        boxes: Tensor,
        labels: Tensor,
        windows: Tensor,
        evidence: Mapping[str, CropMasks],
        confidence: Mapping[str, Tensor],
        features: Mapping[str, Tensor],
        image_key: str,
    ) -> tuple[CropMasks, Tensor]:
        """See ``Combiner.combine``; the confidence is the mean certainty ``|2 p - 1|`` in the window."""
        parts = range(self.about.parts)
        if image_key in self.about.images:
            parts = [self.about.images[image_key]]
        masks = [evidence[name].to(self.device) for name in self.inputs]
        windows = windows.to(self.device)
        corrections = self._corrections(masks, confidence, features, parts)
        # The grids correct the mean pixel by pixel: what is finer than a grid stays.
        mean = torch.stack([part.values for part in masks]).mean(dim=0)
        size = masks[0].image_size
        fused = torch.zeros_like(mean)
        for grids in corrections:
            fused += apply_correction(mean, stretch_grids(grids, windows.float(), windows, size).values)
        found = CropMasks(windows, fused / len(corrections), size)
        certainty = CropMasks(windows, (2 * found.values - 1).abs(), size).sums()
        return found, (certainty / torch.diff(found.offsets).clamp(min=1)).float()

    def _corrections(
        self,
        masks: list[CropMasks],
        confidence: Mapping[str, Tensor],
        features: Mapping[str, Tensor],
        parts: range | list[int],
    ) -> Tensor:
        """Of the networks of some parts, on grids: ``[len(parts), N, S, S]``."""
        count = len(masks[0])
        trust = torch.stack([confidence[name] for name in self.inputs], dim=1).to(self.device)
        read = [features[name] for name in self.inputs if self.about.channels[name]]
        seen = torch.cat(read, dim=1) if read else torch.zeros((count, 0, 1, 1))
        rows = torch.arange(count, device=self.device).split(BOXES_AT_ONCE)
        return torch.cat(
            [torch.zeros((len(parts), 0, GRID, GRID), device=self.device)]
            + [
                self.network.corrections(
                    sample_grids([part[some] for part in masks], GRID),
                    trust[some],
                    seen[some.cpu()].to(self.device),
                    parts,
                )
                for some in rows
                if len(some)
            ],
            dim=1,
        )
