"""The three small members with random weights: they cost what trained ones cost, and need no data."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

import cellseg
from cellseg.benchmarks.simulated import CLASS_NAMES
from cellseg.datasets.folder import FORMAT, SPLIT_FOLDER, SPLITS, SUMMARY_FILE
from cellseg.io.files import write_json
from cellseg.members import Member, build_member
from cellseg.models.yolox.checkpoints import save_state
from cellseg.models.yolox.network import build_network
from cellseg.models.yolox.settings import read_settings
from cellseg.openmmlab import build_model
from cellseg.training.config import load_config, write_config

CONFIGS = Path(cellseg.__file__).parent.parent / "configs"
MEMBER_CONFIGS = {
    "yolox": "yolox/yolox_tiny_cells.py",
    "mask_rcnn": "mask_rcnn/mask_rcnn_small.py",
    "upernet": "upernet/upernet_small.py",
}
_SCOPES = {"mask_rcnn": "mmdet", "upernet": "mmseg"}
_PRIOR_SIDE = 32


def build_untrained_members() -> list[Member]:
    """YOLOX, Mask R-CNN and UPerNet of the small configs, for three cell types.

    They are built by the same door as trained ones, from work folders that last as long as this takes.
    """
    torch.manual_seed(0)
    members = []
    with TemporaryDirectory() as folder:
        data_root = Path(folder) / "data"
        _write_empty_data(data_root)
        for kind, path in MEMBER_CONFIGS.items():
            work_dir = Path(folder) / kind
            config = load_config(CONFIGS / path, {"data_root": str(data_root)})
            write_config(config, work_dir / "config.py")
            if kind == "yolox":
                network = build_network(read_settings(config.exp), len(CLASS_NAMES))
            else:
                network = build_model(config.model, _SCOPES[kind])
            meta = {"class_names": list(CLASS_NAMES), "shape_prior": _disc_prior()}
            save_state(work_dir / "best.pth", {"state_dict": network.state_dict(), "meta": meta})
            members.append(build_member({"type": kind, "work_dir": str(work_dir)}))
    return members


def _write_empty_data(root: Path) -> None:
    """As much of a data folder as a config asks for: classes and statistics, and splits without images."""
    summary = {"format": FORMAT, "class_names": list(CLASS_NAMES), "folds": 2}
    write_json(root / SUMMARY_FILE, summary | {"mean": [128.0] * 3, "std": [16.0] * 3})
    for name in SPLITS:
        write_json(root / SPLIT_FOLDER / "fold0" / f"{name}.json", {"images": [], "categories": [], "annotations": []})


def _disc_prior() -> torch.Tensor:
    """A disc for each type, float32 [K, S, S]."""
    place = (np.arange(_PRIOR_SIDE) + 0.5) / _PRIOR_SIDE * 2 - 1
    disc = np.clip(4.0 * (1.0 - np.hypot(place[:, None], place)), 0.0, 1.0)
    return torch.from_numpy(disc).float().expand(len(CLASS_NAMES), -1, -1).clone()
