"""The samples of a source as mmengine's loaders take them."""

from collections.abc import Mapping
from typing import Any

from mmengine.registry import DATASETS
from torch.utils.data import Dataset

from cellseg.errors import InputError
from cellseg.multimodal.data.dataset import load_multimodal_data
from cellseg.multimodal.data.images import ImageAugmentation


@DATASETS.register_module()
class MultimodalSamples(Dataset):
    """The samples of one split.

    Args:
        source: see ``Source``.
        split: ``train``, ``val`` or ``test``.
        augmentation: of the pictures, see ``ImageAugmentation``; None for none. For the training only.
        all_pairs: every picture with every caption of the split, instead of what ``MultimodalData.records`` gives: what
            the Top-1 and Top-5 of a probability are taken from. As many samples as pictures times captions.

    Raises:
        InputError: nothing in the split, or an option or file that cannot be used.
    """

    def __init__(
        self,
        source: Mapping[str, Any],
        split: str,
        augmentation: Mapping[str, Any] | None = None,
        all_pairs: bool = False,
    ):
        self.data = load_multimodal_data(**source)
        self.records = self.data.all_pairs(split) if all_pairs else self.data.records(split)
        self.augmentation = ImageAugmentation.parse(augmentation)
        if augmentation is not None and split != "train":
            raise InputError(f"augmentation: is for the training; leave it out of the split {split!r}")

    @property
    def metainfo(self) -> dict[str, Any]:
        """What mmengine hands to metrics, and keeps in checkpoints: plain values."""
        return {"description": self.data.description.to_dict()}

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.data.sample(self.records[index], self.augmentation)
