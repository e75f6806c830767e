"""Members with features, and a combiner, that need no training."""

from collections.abc import Mapping
from typing import Any

import blob_member
import torch
from torch import Tensor

from cellseg.ensemble.feature_fusion.combiner import Combiner
from cellseg.members.pooling import FeatureLevel
from cellseg.structures import CropMasks


class FeatureBlob(blob_member.BlobMember):
    """A blob member whose features are the image that it sees, and the negative of it.

    Attributes:
        pooled: how often features were asked for.
        spoil: what is done to the features before they are given away.
    """

    feature_channels = 2

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.pooled = 0
        self.spoil = lambda values: values

    def features(self, state: Any, boxes: Tensor) -> Tensor:
        self.pooled += 1
        grey = torch.from_numpy(state.grey).float()
        return self.spoil(FeatureLevel(torch.stack([grey, -grey]), (1.0, 1.0)).pool(boxes))


class MeanCombiner(Combiner):
    """The mean of its inputs, or of the first of their feature channels for every pixel.

    Attributes:
        asked: arguments of each call, by name.
    """

    def __init__(
        self,
        name: str = "fused",
        inputs: tuple[str, ...] = ("sharp", "shifted"),
        uses_features: bool = False,
        input_identities: Mapping[str, str] | None = None,
        class_names: tuple[str, ...] = blob_member.CLASS_NAMES,
    ):
        self.name, self.inputs, self.class_names = name, inputs, class_names
        self.uses_features = uses_features
        self.input_identities = input_identities or {}
        self.asked: list[dict[str, Any]] = []

    def combine(self, boxes, labels, windows, evidence, confidence, features, image_key) -> tuple[CropMasks, Tensor]:
        self.asked.append(dict(evidence=evidence, confidence=confidence, features=features, image_key=image_key))
        mean = torch.stack([evidence[name].values for name in self.inputs]).mean(0)
        trust = torch.stack([confidence[name] for name in self.inputs]).mean(0)
        if self.uses_features:
            trust = features[self.inputs[0]][:, 0].mean((1, 2)) / 255
        return CropMasks(windows, mean, evidence[self.inputs[0]].image_size), trust

    def identity(self) -> dict[str, Any]:
        return dict(type="mean", inputs=list(self.inputs), uses_features=self.uses_features)
