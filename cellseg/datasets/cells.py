"""One dataset for mmdet and mmseg: images of a prepared data folder with their cells as crop masks."""

from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from cellseg.datasets.folder import DataFolder
from cellseg.errors import InputError


@DATASETS.register_module()
class CellDataset(BaseDataset):
    """Images of one split of a data folder.

    Every item carries ``img_path``, ``img_id`` (the number in the split's COCO file), ``key``, ``cells`` (CropMasks),
    ``cell_labels`` (int64 ``[N]``). Networks of both frameworks read it, so geometry is decided in one place.

    Args:
        data_root: what ``tools/prepare_data.py`` wrote.
        fold: which fold.
        split: ``train``, ``val`` or ``test``.
        pipeline: transforms, see ``cellseg.datasets.transforms``.
        keep_empty: keep images without cells.
    """

    def __init__(self, data_root: str, fold: int, split: str, pipeline: list, keep_empty: bool = True, **kwargs):
        self.folder = DataFolder(data_root)
        self.fold = fold
        self.split = split
        self.keep_empty = keep_empty
        # BaseDataset would join data_root with its own ann_file; the data folder knows its files.
        super().__init__(
            ann_file="", metainfo=dict(classes=self.folder.class_names), pipeline=pipeline, lazy_init=True, **kwargs
        )
        self.full_init()

    def load_data_list(self) -> list[dict[str, Any]]:
        records = self.folder.load_split(self.fold, self.split)
        image_ids = self.folder.image_ids(self.fold, self.split)
        items = [
            dict(
                img_path=str(self.folder.image_path(record.file_name)),
                img_id=image_ids[record.key],
                key=record.key,
                height=record.height,
                width=record.width,
                cells=record.masks,
                cell_labels=record.labels,
            )
            for record in records
            if self.keep_empty or len(record.masks)
        ]
        if not items:
            raise InputError(
                f"{Path(self.folder.root)}: split {self.split!r} of fold {self.fold} has no images; prepare the data "
                "with more images or fewer folds"
            )
        return items
