"""Ensemble against members on held-out images."""

import json
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cellseg.datasets.folder import DataFolder
from cellseg.ensemble.comparison.compare import compare_members
from cellseg.ensemble.comparison.file import ENSEMBLE, read_comparison
from cellseg.ensemble.comparison.report import comparison_json
from cellseg.ensemble.config import load_ensemble_config
from cellseg.ensemble.evidence.cache import EvidenceCache
from cellseg.ensemble.matching.match import MatchOptions, match_members
from cellseg.ensemble.pipeline import Ensemble
from cellseg.ensemble.settings import EnsembleSettings, Settings
from cellseg.ensemble.weights_file import save_weights
from cellseg.errors import InputError
from cellseg.io.files import file_hash, write_json
from cellseg.io.images import read_image, to_rgb
from cellseg.members import build
from cellseg.metrics import competition_map, evaluate_image, summarize
from cellseg.metrics.bootstrap import paired_difference
from cellseg.metrics.reliability import best_overlaps, spearman

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
    write = runpy.run_path(str(Path(__file__).parents[2] / "models" / "disc_folder.py"))["write_disc_folder"]
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
def rich(tmp_path, settings):
    """Weights with two variants and options of matching; the variant "uniform" weighs all equally."""
    uniform = replace(settings, general=Settings(dict.fromkeys(NAMES, 1.0), mask_threshold=0.6), types={}, alone={})
    other = replace(settings, general=Settings(dict(sharp=0.0, shifted=1.0), score_threshold=0.7), types={}, alone={})
    matching = MatchOptions(rule="any", score_threshold=0.1)
    all_of_it = replace(settings, variants={"uniform": uniform, "vote": other}, matching=matching)
    scores = {"uniform": dict(after=0.25), "matching": dict(after=0.35)}
    save_weights(tmp_path / "rich.json", all_of_it, {"data": {"split": "val", "fold": 0}, "scores": scores})
    return tmp_path / "rich.json", all_of_it


@pytest.fixture
def predict(config, records, data_root):
    """Instances of each image, as the pipeline makes them with some settings."""
    folder = DataFolder(data_root)
    images = [to_rgb(read_image(folder.image_path(record.file_name))) for record in records]

    def call(settings, **options):
        ensemble = Ensemble(config.build(), settings, config.fusion, **options)
        return [ensemble.predict(image) for image in images]

    return call


@pytest.fixture
def records(data_root):
    return DataFolder(data_root).load_split(0, "test")


def test_each_row_is_what_the_pipeline_makes_with_its_settings(config, weights, settings, records, predict):
    comparison = compare_members(config, weights)
    assert [row.name for row in comparison.rows] == ["sharp", "shifted", ENSEMBLE]
    assert [row.kind for row in comparison.rows] == ["member", "member", "ensemble"]
    assert comparison.images == tuple(record.key for record in records) and comparison.split == "test"
    assert comparison.groups == tuple(record.group for record in records)
    assert comparison.cell_types == tuple(record.cell_type for record in records)
    for row in comparison.rows:
        own = settings if row.name == ENSEMBLE else settings.alone[row.name]
        found = [instances.masks for instances in predict(own)]
        score = competition_map(found, [record.masks for record in records])
        assert row.map == pytest.approx(score.map)
        assert (row.ap50, row.ap75) == pytest.approx((score.ap[0.5], score.ap[0.75]))
        assert row.per_image == pytest.approx([float(value) for value in score.per_image])
        assert row.per_image_ap50 == pytest.approx(score.per_image_threshold[:, 0].tolist())
        assert row.per_image_ap75 == pytest.approx(score.per_image_threshold[:, 5].tolist())
        assert row.per_type == pytest.approx({"disc": sum(row.per_image[:2]) / 2, "bar": sum(row.per_image[2:]) / 2})
        summary = summarize(
            [evaluate_image(one.key, masks, one.masks) for one, masks in zip(records, found, strict=True)]
        )
        assert row.mean_matched_iou == pytest.approx(summary.quality.mean_matched_iou)
        assert row.errors == summary.errors
    assert 0.1 < comparison.rows[0].map < comparison.ensemble.map < 1


def test_variants_votes_and_matched_instances_have_rows(config, rich, records, predict):
    path, settings = rich
    comparison = compare_members(config, path, votes=["majority", "mean", "majority"])
    rows = {row.name: row for row in comparison.rows}
    assert [(row.name, row.kind) for row in comparison.rows] == [
        ("sharp", "member"),
        ("shifted", "member"),
        ("uniform", "variant"),
        ("vote", "variant"),
        ("majority vote", "vote"),
        ("mean vote", "vote"),
        ("matching", "matching"),
        ("ensemble", "ensemble"),
    ]
    alone = {name: predict(settings.alone[name]) for name in NAMES}
    expected = {
        "uniform": predict(settings.variants["uniform"]),
        "vote": predict(settings.variants["vote"]),
        "majority vote": predict(replace(settings, vote="majority")),
        "mean vote": predict(settings),
        "matching": [
            match_members(dict(zip(NAMES, found, strict=True)), settings.matching)
            for found in zip(*alone.values(), strict=True)
        ],
    }
    truths = [record.masks for record in records]
    for name, found in expected.items():
        score = competition_map([instances.masks for instances in found], truths)
        assert rows[name].per_image == pytest.approx(score.per_image.tolist()), name
        assert rows[name].difference == pytest.approx(comparison.ensemble.map - rows[name].map)
    # Each of them is something else, so that no row stands for another by mistake.
    assert len({rows[name].per_image for name in ("sharp", "shifted", "vote", "matching", "ensemble")}) == 5
    assert rows["uniform"].validation == 0.25 and rows["matching"].validation == 0.35
    assert rows["vote"].validation is None


def test_an_ensemble_that_matches_is_compared_as_such(config, rich, predict, records):
    path, settings = rich
    comparison = compare_members(replace(config, combine="match"), path)
    assert [row.name for row in comparison.rows] == ["sharp", "shifted", "uniform", "vote", "ensemble"]
    found = [instances.masks for instances in predict(settings, combine="match")]
    score = competition_map(found, [record.masks for record in records])
    assert comparison.ensemble.per_image == pytest.approx(score.per_image.tolist())
    assert comparison.ensemble.validation == 0.35


def test_rows_that_share_boxes_ask_members_once(config, rich, blobs, records, monkeypatch):
    path, _ = rich
    asked = []
    evidence = blobs.BlobMember.evidence

    def spy(self, *arguments):
        asked.append(self.name)
        return evidence(self, *arguments)

    monkeypatch.setattr(blobs.BlobMember, "evidence", spy)
    compare_members(config, path, votes=["majority", "median", "log_odds"])
    # Alone each; both for the boxes of both (uniform, votes, ensemble); the variant "vote" is one member alone.
    assert sorted(asked) == sorted([*NAMES, *NAMES] * len(records))


def test_the_uncertainty_of_cells_is_compared_with_the_truth(config, weights, settings, predict, records):
    comparison = compare_members(config, weights)
    found = predict(settings)
    certain = torch.cat([1 - instances.uncertainty for instances in found])
    actual = torch.cat([best_overlaps(one.masks, record.masks) for one, record in zip(found, records, strict=True)])
    check = comparison.uncertainty
    assert check.cells == len(certain) > 10
    assert check.spearman == pytest.approx(spearman(certain, actual))
    assert sum(row.count for row in check.curve.rows) == check.cells


@pytest.mark.parametrize(
    ("votes", "variant", "message"),
    [
        (["mode"], "uniform", "--votes mode: unknown; the schemes are mean, "),
        ((), "sharp", "two rows of the comparison would have the name 'sharp'; rename the member or variant"),
    ],
)
def test_rows_that_cannot_be_made(config, settings, tmp_path, votes, variant, message):
    part = replace(settings, alone={}, types={})
    save_weights(tmp_path / "w.json", replace(settings, variants={variant: part}), {})
    with pytest.raises(InputError) as error:
        compare_members(config, tmp_path / "w.json", votes=votes)
    assert str(error.value).startswith(message)


def test_answers_are_kept_for_the_next_comparison(config, weights, blobs, tmp_path):
    first = compare_members(config, weights, cache=EvidenceCache(tmp_path / "cache"))
    blobs.BlobMember.encoded = 0
    again = compare_members(config, weights, cache=EvidenceCache(tmp_path / "cache"))
    assert blobs.BlobMember.encoded == 0 and again.rows == first.rows


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


def test_one_group_has_a_difference_without_an_interval(config, weights):
    comparison = compare_members(config, weights, split="train")  # the fixture's training images are one group
    row = comparison.rows[0]
    assert row.interval is None and row.difference == pytest.approx(comparison.ensemble.map - row.map)


def test_where_it_comes_from(config, weights):
    provenance = compare_members(config, weights).provenance
    assert provenance["weights"] == file_hash(weights) and provenance["fold"] == 0
    assert set(provenance["members"]) == set(NAMES) and "torch" in provenance["versions"]


def test_what_is_written_can_be_read_for_pooling(config, weights, tmp_path):
    comparison = compare_members(config, weights)
    write_json(tmp_path / "comparison.json", comparison_json(comparison))
    stored = read_comparison(tmp_path / "comparison.json")
    assert (stored.images, stored.groups, stored.cell_types) == (
        comparison.images,
        comparison.groups,
        comparison.cell_types,
    )
    assert stored.split == "test" and stored.sha256 == file_hash(tmp_path / "comparison.json")
    for row, kept in zip(comparison.rows, stored.rows, strict=True):
        assert vars(kept) == {name: getattr(row, name) for name in vars(kept)}


def test_the_examples_are_shown_for_each_type(config, weights):
    sheet = compare_members(config, weights).sheet
    assert sheet.ndim == 3 and sheet.shape[2] == 3
    # Two rows of an image and its overlay: the overlay has colours, the image is grey.
    assert (sheet[..., 0] != sheet[..., 1]).any()
