"""Ensemble against members on held-out images."""

import json
import runpy
from pathlib import Path

import pytest

from cellseg.datasets.folder import DataFolder
from cellseg.ensemble.comparison import ENSEMBLE, compare_members, comparison_json, comparison_table
from cellseg.ensemble.config import load_ensemble_config
from cellseg.ensemble.pipeline import Ensemble
from cellseg.ensemble.settings import EnsembleSettings, Settings
from cellseg.ensemble.weights_file import save_weights
from cellseg.errors import InputError
from cellseg.io.images import read_image, to_rgb
from cellseg.members import build
from cellseg.metrics import competition_map
from cellseg.metrics.bootstrap import paired_difference

NAMES = ("sharp", "shifted")
TYPES = ("disc", "bar")
CONFIG = """
fold = 0
data_root = {root!r}
members = [
    dict(type="blob", name="sharp", missed=0.4, seed=1, work_dir="x", class_names=("disc", "bar"), level=100.0),
    dict(type="blob", name="shifted", shift=1, seed=2, work_dir="x", class_names=("disc", "bar"), level=100.0),
]
"""


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    """Discs and bars whose four test images are of two groups and two types."""
    write = runpy.run_path(str(Path(__file__).parents[1] / "models" / "disc_folder.py"))["write_disc_folder"]
    root = write(tmp_path_factory.mktemp("discs"))
    path = root / "splits" / "fold0" / "test.json"
    content = json.loads(path.read_text())
    for number, image in enumerate(content["images"]):
        image |= dict(group=f"well{number % 2}", cell_type=TYPES[number // 2])
    path.write_text(json.dumps(content))
    summary = json.loads((root / "dataset.json").read_text())
    # With one fold there is no test split.
    (root / "dataset.json").write_text(json.dumps(summary | dict(folds=2)))
    return root


@pytest.fixture
def config(data_root, blobs, monkeypatch, tmp_path):
    monkeypatch.setitem(build.MEMBER_TYPES, "blob", ("blob_member", "BlobMember"))
    (tmp_path / "ensemble.py").write_text(CONFIG.format(root=str(data_root)))
    return load_ensemble_config(tmp_path / "ensemble.py")


@pytest.fixture
def settings():
    alone = {
        name: EnsembleSettings(
            NAMES, TYPES, Settings({other: float(other == name) for other in NAMES}, mask_threshold=0.4)
        )
        for name in NAMES
    }
    general = Settings(dict(sharp=3.0, shifted=1.0), mask_threshold=0.6)
    bar = Settings(dict(sharp=1.0, shifted=1.0), score_threshold=0.4)
    return EnsembleSettings(NAMES, TYPES, general, types={"bar": bar}, alone=alone)


@pytest.fixture
def weights(tmp_path, settings):
    scores = {"sharp": dict(before=0.1, after=0.2), "ensemble": dict(before=0.3, after=0.4)}
    save_weights(tmp_path / "weights.json", settings, {"data": {"split": "val", "fold": 0}, "scores": scores})
    return tmp_path / "weights.json"


@pytest.fixture
def records(data_root):
    return DataFolder(data_root).load_split(0, "test")


def test_each_row_is_what_the_pipeline_makes_with_its_settings(config, weights, settings, records, data_root):
    comparison = compare_members(config, weights)
    assert [row.name for row in comparison.rows] == ["sharp", "shifted", ENSEMBLE]
    assert comparison.images == tuple(record.key for record in records) and comparison.split == "test"
    folder = DataFolder(data_root)
    for row in comparison.rows:
        own = settings if row.name == ENSEMBLE else settings.alone[row.name]
        ensemble = Ensemble(config.build(), own, config.fusion)
        found = [ensemble.predict(to_rgb(read_image(folder.image_path(record.file_name)))).masks for record in records]
        score = competition_map(found, [record.masks for record in records])
        assert row.map == pytest.approx(score.map) and row.ap50 == pytest.approx(score.ap[0.5])
        assert row.per_image == pytest.approx([float(value) for value in score.per_image])
        assert row.per_type == pytest.approx({"disc": sum(row.per_image[:2]) / 2, "bar": sum(row.per_image[2:]) / 2})
    assert 0.1 < comparison.rows[0].map < comparison.ensemble.map < 1


def test_differences_are_paired_by_image_and_drawn_by_group(config, weights, records):
    comparison = compare_members(config, weights)
    best = comparison.ensemble
    assert (best.difference, best.interval) == (None, None)
    for row in comparison.rows[:-1]:
        expected = paired_difference(best.per_image, row.per_image, [record.group for record in records])
        assert (row.difference, *row.interval) == pytest.approx(expected)
        assert row.difference == pytest.approx(best.map - row.map)


def test_each_member_sees_an_image_once(config, weights, blobs, records):
    blobs.BlobMember.encoded = 0
    compare_members(config, weights)
    assert blobs.BlobMember.encoded == len(records) * len(NAMES)


def test_scores_of_the_tuning_are_repeated(config, weights):
    rows = compare_members(config, weights).rows
    assert [row.validation for row in rows] == [0.2, None, 0.4]


def test_the_split_that_was_tuned_on_is_refused(config, weights):
    with pytest.raises(InputError) as error:
        compare_members(config, weights, split="val")
    assert str(error.value) == "--split val: the weights were tuned on it; score them on images that tuning did not see"


def test_weights_of_another_ensemble_are_refused(config, tmp_path, settings):
    other = EnsembleSettings(("a", "b"), TYPES, Settings(dict(a=1.0, b=1.0)))
    save_weights(tmp_path / "other.json", other, {})
    with pytest.raises(InputError, match="other.json: members: the ensemble has .*tune again"):
        compare_members(config, tmp_path / "other.json")


def test_a_member_without_boxes_has_no_row(config, tmp_path, settings, data_root):
    text = CONFIG.format(root=str(data_root)).replace('name="sharp"', 'name="sharp", proposes=False')
    (tmp_path / "ensemble.py").write_text(text)
    general = EnsembleSettings(NAMES, TYPES, settings.general, alone={"shifted": settings.alone["shifted"]})
    save_weights(tmp_path / "weights.json", general, {})
    comparison = compare_members(load_ensemble_config(tmp_path / "ensemble.py"), tmp_path / "weights.json")
    assert [row.name for row in comparison.rows] == ["shifted", ENSEMBLE]


def test_one_group_has_a_difference_without_an_interval(config, weights, data_root, tmp_path):
    comparison = compare_members(config, weights, split="train")  # the fixture's training images are one group
    row = comparison.rows[0]
    assert row.interval is None and row.difference == pytest.approx(comparison.ensemble.map - row.map)
    assert comparison_table(comparison).splitlines()[2].endswith(f"| {row.difference:+.3f} |")
    assert comparison_json(comparison)["rows"][0]["interval"] is None


def test_the_table_and_the_plain_values(config, weights):
    comparison = compare_members(config, weights)
    sharp, _, best = comparison.rows
    lines = comparison_table(comparison).splitlines()
    assert lines[0] == "|  | mAP | AP50 | bar | disc | ensemble minus this [95% interval] |"
    assert lines[1] == "|---|---|---|---|---|---|"
    low, high = sharp.interval
    assert lines[2] == (
        f"| sharp | {sharp.map:.3f} | {sharp.ap50:.3f} | {sharp.per_type['bar']:.3f} | {sharp.per_type['disc']:.3f} | "
        f"{sharp.difference:+.3f} [{low:+.3f}, {high:+.3f}] |"
    )
    assert lines[4].startswith("| ensemble |") and lines[4].endswith(" |  |")
    plain = json.loads(json.dumps(comparison_json(comparison)))
    assert plain["split"] == "test" and plain["images"] == list(comparison.images)
    assert plain["rows"][0] == dict(
        name="sharp",
        map=sharp.map,
        ap50=sharp.ap50,
        per_type=sharp.per_type,
        per_image=list(sharp.per_image),
        difference=sharp.difference,
        interval=list(sharp.interval),
        validation=0.2,
    )
    assert plain["rows"][2]["map"] == best.map


def test_the_examples_are_shown_for_each_type(config, weights):
    sheet = compare_members(config, weights).sheet
    assert sheet.ndim == 3 and sheet.shape[2] == 3
    # Two rows of an image and its overlay: the overlay has colours, the image is grey.
    assert (sheet[..., 0] != sheet[..., 1]).any()
