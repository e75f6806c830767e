"""What a report measures: the same images with boxes fused otherwise, other windows, other views."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from cellseg.datasets.records import ImageRecord
from cellseg.ensemble import FusionOptions, uniform_settings
from cellseg.ensemble.evidence.averaging import AveragedMember
from cellseg.ensemble.evidence.pool import EvidencePool
from cellseg.ensemble.tuning.cases import Case
from cellseg.ensemble.tuning.effects import FUSION, measure_effects
from cellseg.ensemble.tuning.images import read_images
from cellseg.ensemble.tuning.measure import fusion_changes, measure_cases
from cellseg.ensemble.tuning.oracle import CEILINGS
from cellseg.errors import InputError
from cellseg.members.views import parse_views

NAMES, TYPES = ("sharp", "shifted", "dim"), ("round", "long")
SETTINGS = uniform_settings(NAMES, TYPES, score_threshold=0.2, mask_threshold=0.3, nms_iou=0.6)
FUSION_OPTIONS = FusionOptions(one_type=True)


@pytest.fixture
def folder(blobs, tmp_path):
    """Four blurred images as files, and their records: where a cell ends depends on who is asked about what."""
    records = []
    for seed in range(4):
        image, truth = blobs.blob_image(seed, height=72, width=80, cells=6)
        image = ndimage.gaussian_filter(image, (1.7, 1.7, 0))
        Image.fromarray(image).save(tmp_path / f"{seed}.png")
        labels = torch.zeros(len(truth), dtype=torch.int64)
        records.append(ImageRecord(str(seed), f"{seed}.png", 72, 80, "round", f"group{seed % 3}", truth, labels))
    return SimpleNamespace(image_path=lambda name: Path(tmp_path, name), records=records)


@pytest.fixture
def members(blobs):
    """Two detectors that disagree about where cells are and which there are, and one member without boxes."""
    return [
        blobs.BlobMember("sharp", missed=0.5, seed=1),
        blobs.BlobMember("shifted", shift=3, missed=0.3, seed=2),
        blobs.BlobMember("dim", level=150.0, proposes=False),
    ]


@pytest.fixture
def averaged(members):
    return [members[0], AveragedMember(members[1], parse_views("mirrors", "test")), members[2]]


def fill(folder, members, options, margins=()):
    pool = EvidencePool(members, options, margins)
    for record, image in read_images(folder, folder.records, "test"):
        pool.add(image, record.masks, record.cell_type)
    return pool


def test_what_can_be_changed(members, averaged, combining):
    methods = ["boxes by nms, not wbf", "boxes by nms, not nmw", "boxes by nms, not soft_nms"]
    assert list(fusion_changes(members, FusionOptions(method="nms"))) == methods
    # As it comes, soft-NMS keeps every double.
    soft = fusion_changes(members, FusionOptions(method="nms", skip_score=0.2))["boxes by nms, not soft_nms"][1]
    assert soft == FusionOptions(method="soft_nms", skip_score=0.2, min_score=0.2)
    more = fusion_changes(averaged, FusionOptions(method="soft_nms", decay="linear", one_type=True))
    assert list(more)[-2:] == ["one type in an image", "views of an image"]
    assert more["boxes by soft_nms, not nms"] == (averaged, FusionOptions(method="nms", one_type=True))
    assert more["views of an image"][0] == members
    margin = fusion_changes(members, FusionOptions(method="nms"), [0.3])["margin as it is, not 0.3"]
    assert margin == (members, FusionOptions(method="nms", margin=0.3))
    # A combiner cannot be asked about members other than those that it was trained with.
    fused = [*averaged, combining.MeanCombiner()]
    assert list(fusion_changes(fused, FusionOptions(method="nms"))) == methods


@pytest.mark.parametrize("margin", [None, 0.3])
def test_each_is_what_asking_by_hand_gives(folder, averaged, margin):
    pool = fill(folder, averaged, FUSION_OPTIONS, (0.3,))
    settings = replace(SETTINGS, margin=margin)
    cases = [Case(pool.subset(part), settings, tuple(part)) for part in ([2, 0], [3, 1])]
    groups = [record.group for record in folder.records]
    measured = measure_cases(cases, groups, averaged, folder, folder.records)
    found = {effect.name: effect for effect in measured.effects if effect.kind == FUSION}
    margins = [0.0, 0.3] if margin is None else [0.0, 0.15]
    changes = fusion_changes(averaged, FUSION_OPTIONS.with_margin(margin), margins)
    others = {name: fill(folder, *change) for name, change in changes.items()}
    # That scores of another scale are cut elsewhere is tested with the effects.
    asked = [
        Case(case.pool, settings, case.images, {n: p.subset(case.images) for n, p in others.items()}) for case in cases
    ]
    expected = {effect.name: effect for effect in measure_effects(asked, groups) if effect.kind == FUSION}
    assert list(found) == list(expected) == list(changes)
    assert {f"margin as it is, not {other:g}" for other in margins} < set(found)
    for name, effect in found.items():
        assert effect == expected[name], name
    assert len({round(effect.map, 9) for effect in found.values()}) > 2, found
    # Ceilings and the other effects start from the same score.
    base = float(pool.score(settings).mean())
    assert all(row.map - row.loss == pytest.approx(base) for row in measured.ceilings)
    assert all(row.map + row.gain == pytest.approx(base) for row in measured.effects if row.gain is not None)


def test_some_of_the_images_only(folder, members):
    pool = fill(folder, members, FUSION_OPTIONS)
    groups = [record.group for record in folder.records]
    measured = measure_cases([Case(pool.subset([3, 1]), SETTINGS, (3, 1))], groups, members, folder, folder.records)
    assert [row.name for row in measured.ceilings] == list(CEILINGS)


def test_each_member_looks_at_an_image_once(blobs, folder, members):
    pool = fill(folder, members, FUSION_OPTIONS)
    blobs.BlobMember.encoded = 0
    measure_cases([Case(pool, SETTINGS, (0, 1, 2, 3))], list("abca"), members, folder, folder.records)
    assert blobs.BlobMember.encoded == len(members) * len(folder.records)


def test_an_image_of_another_size_than_its_annotations(folder):
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(folder.image_path("2.png"))
    with pytest.raises(InputError, match=r"2\.png: 8 x 9 pixels, its annotations are for 80 x 72; run"):
        list(read_images(folder, folder.records, "test"))
