"""Tables of a run: what stands in them of what an ensemble knows about a cell."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from cellseg.ensemble.folder_run import INSTANCE_COLUMNS, FolderRun
from cellseg.structures import CropMasks, Instances


@pytest.fixture
def image(tmp_path):
    Image.fromarray(np.full((12, 16, 3), 90, np.uint8)).save(tmp_path / "a.png")
    return "a", tmp_path / "a.png"


@pytest.fixture
def instances():
    dense = torch.zeros(2, 12, 16, dtype=torch.bool)
    dense[0, 1:5, 2:8] = True
    dense[1, 7:9, 0:3] = True
    masks = CropMasks.from_dense(dense)
    scores = torch.tensor([0.75, 0.5])
    return Instances(masks.boxes(), scores, torch.tensor([1, 0]), masks, (12, 16), ("astro", "cort"))


def rows_of(folder):
    with open(folder / "instances.csv", newline="") as file:
        return list(csv.reader(file))


def test_instances_table_has_the_uncertainty(tmp_path, image, instances):
    unsure = replace(instances, uncertainty=torch.tensor([0.125, 1.0]))
    FolderRun(tmp_path / "out", {}, ("cells",)).run([image], lambda picture: unsure)
    assert rows_of(tmp_path / "out") == [
        list(INSTANCE_COLUMNS),
        ["a", "1", "cort", "0.750000", "0.125000", "24", "2", "1", "8", "5"],
        ["a", "2", "astro", "0.500000", "1.000000", "6", "0", "7", "3", "9"],
    ]
    with open(tmp_path / "out" / "cells" / "a.csv", newline="") as file:
        assert [row["uncertainty"] for row in csv.DictReader(file)] == ["0.1250", "1.0000"]
    stored = json.loads((tmp_path / "out" / "instances" / "a.json").read_text())
    assert stored["uncertainty"] == [0.125, 1.0]


def test_it_is_empty_where_nobody_measured_it(tmp_path, image, instances):
    FolderRun(tmp_path / "out", {}, ()).run([image], lambda picture: instances)
    assert [row[4] for row in rows_of(tmp_path / "out")] == ["uncertainty", "", ""]
    assert "uncertainty" not in json.loads((tmp_path / "out" / "instances" / "a.json").read_text())


def test_a_stopped_run_keeps_it(tmp_path, image, instances):
    unsure = replace(instances, uncertainty=torch.rand(2, generator=torch.Generator().manual_seed(0)))
    FolderRun(tmp_path / "out", {}, ()).run([image], lambda picture: unsure)
    before = (tmp_path / "out" / "instances.csv").read_bytes()
    (tmp_path / "out" / "instances.csv").unlink()
    report = FolderRun(tmp_path / "out", {}, ()).run([image], lambda picture: pytest.fail("segmented again"))
    assert report.reused == 1 and (tmp_path / "out" / "instances.csv").read_bytes() == before
