"""The configs of emoji sentiment read a table of pictures, names and keywords, and train."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cellseg.multimodal.data import forget_multimodal_data, load_multimodal_data
from cellseg.training.config import load_config
from cellseg.training.door import train

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "multimodal" / "emoji"
LABELS = ("positive", "neutral", "negative")


@pytest.fixture
def emoji(tmp_path):
    """A folder with ``labels.csv`` and pictures; the same name twice, and one without keywords."""
    (tmp_path / "images").mkdir()
    rows = []
    for number in range(24):
        label = LABELS[number % 3]
        pixels = np.random.default_rng(number).integers(256, size=(64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
        name = f"{label} face {number // 2 * 2 if number in (6, 7) else number}"
        words = "" if number == 3 else f"{label};face;x{number}"
        rows.append(dict(id=number, file_name=f"{number}.png", text=name, keywords=words, score=0.5, label=label))
    with open(tmp_path / "labels.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    yield tmp_path
    forget_multimodal_data()


@pytest.mark.parametrize("name", ["fusion", "picture", "name", "keywords"])
def test_a_config_trains(emoji, name):
    options = {"data_root": str(emoji), "iterations": 2, "train_cfg.val_interval": 2, "batch_size": 4}
    result = train(CONFIGS / f"{name}.py", emoji / "work", options=options)
    assert result["iteration"] == 2 and (emoji / "work" / "best.pth").is_file()


def test_what_is_read(emoji):
    data = load_multimodal_data(
        **load_config(CONFIGS / "fusion.py", {"data_root": str(emoji)}).model.to_dict()["source"]
    )
    records = [record for split in ("train", "val", "test") for record in data.records(split)]
    assert len(records) == 24 and data.description.class_names == ("negative", "neutral", "positive")
    # Nothing that tells the label: neither counts nor score.
    assert {name for record in records for name in record.inputs} == {"picture", "name", "keywords"}
    (without,) = [record for record in records if "keywords" not in record.inputs]
    assert without.inputs["name"] == "positive face 3"
