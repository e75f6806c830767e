"""The trained fusion as a member of an ensemble."""

import math
from dataclasses import replace

import pytest
import torch

from cellseg.ensemble import Ensemble, FusionOptions, enlarge_boxes
from cellseg.ensemble.comparison.compare import compare_members
from cellseg.ensemble.config import load_ensemble_config
from cellseg.ensemble.evidence.cache import EvidenceCache, image_key
from cellseg.ensemble.feature_fusion.member import FeatureFusionMember
from cellseg.ensemble.tuning.pool_tuning import TuningOptions
from cellseg.ensemble.tuning.tune import tune_ensemble
from cellseg.errors import InputError, MissingFileError
from cellseg.io.images import read_image, to_rgb
from cellseg.members import build_member
from cellseg.models.fusion_network import FeatureFusionNetwork, FusionDescription
from cellseg.structures import CropMasks

SIZE = (90, 110)
ABOUT = FusionDescription(("cell",), dict(a="1", b="2"), dict(a=3, b=0), 3, {"known": 1})
CONFIG = "model = dict(type='fusion_network_of', evidence=dict(), width=8, feature_width=4, input_dropout=0.1)\n"


def write_fusion(folder, trained=True, config=CONFIG):
    """What a training leaves, with random weights in the last layers if ``trained``."""
    torch.manual_seed(3)
    network = FeatureFusionNetwork(ABOUT, width=8, feature_width=4)
    for part in network.networks if trained else ():
        torch.nn.init.normal_(part.last.weight, std=2.0)
    folder.mkdir(exist_ok=True)
    (folder / "config.py").write_text(config)
    torch.save({"state_dict": network.state_dict()}, folder / "best.pth")
    return folder


def build(folder, **options):
    return build_member(dict(type="feature_fusion", work_dir=str(folder), **options))


def question(seed=0, count=7):
    """Random answers of two inputs for random boxes, as the arguments of ``combine``."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 60
    boxes = torch.cat([corner, corner + 5 + torch.rand(count, 2, generator=generator) * 40], 1)
    windows = enlarge_boxes(boxes, 0.15, SIZE)
    pixels = int((windows[:, 2:] - windows[:, :2]).prod(dim=1).sum())
    return dict(
        boxes=boxes,
        labels=torch.zeros(count, dtype=torch.int64),
        windows=windows,
        evidence={name: CropMasks(windows, torch.rand(pixels, generator=generator), SIZE) for name in "ab"},
        confidence={name: torch.rand(count, generator=generator) for name in "ab"},
        features={name: torch.randn(count, n, 7, 7, generator=generator) for name, n in (("a", 3), ("b", 0))},
        image_key="unknown",
    )


def test_untrained_it_is_the_uniform_mean(tmp_path):
    asked = question()
    found, confidence = build(write_fusion(tmp_path / "work", trained=False)).combine(**asked)
    mean = (asked["evidence"]["a"].values + asked["evidence"]["b"].values) / 2
    assert torch.equal(found.windows, asked["windows"])
    torch.testing.assert_close(found.values, mean, atol=3e-7, rtol=0)
    certainty = CropMasks(found.windows, (2 * mean - 1).abs(), SIZE)
    torch.testing.assert_close(confidence, (certainty.sums() / torch.diff(found.offsets)).float())


def test_answers_are_probabilities_that_the_network_moved(tmp_path):
    asked = question()
    found, confidence = build(write_fusion(tmp_path / "work")).combine(**asked)
    mean = (asked["evidence"]["a"].values + asked["evidence"]["b"].values) / 2
    assert found.values.min() >= 0 and found.values.max() <= 1 and (found.values - mean).abs().mean() > 0.05
    assert ((confidence >= 0) & (confidence <= 1)).all()


def test_instances_do_not_depend_on_each_other(tmp_path, monkeypatch):
    member, asked = build(write_fusion(tmp_path / "work")), question()
    whole, trust = member.combine(**asked)
    order = torch.tensor([4, 0, 6, 2])
    some = {name: asked[name][order] for name in ("boxes", "labels", "windows")}
    for name in ("evidence", "confidence", "features"):
        some[name] = {key: part[order] for key, part in asked[name].items()}
    found, part = member.combine(**some, image_key="unknown")
    torch.testing.assert_close(found.values, whole[order].values, atol=2e-6, rtol=0)
    torch.testing.assert_close(part, trust[order], atol=2e-6, rtol=0)
    monkeypatch.setattr("cellseg.ensemble.feature_fusion.member.BOXES_AT_ONCE", 2)
    in_parts, _ = member.combine(**asked)
    torch.testing.assert_close(in_parts.values, whole.values, atol=2e-6, rtol=0)


def test_no_boxes_and_empty_windows(tmp_path):
    member = build(write_fusion(tmp_path / "work"))
    found, confidence = member.combine(**question(count=0))
    assert len(found) == 0 and confidence.shape == (0,)
    asked = question(count=1)
    asked["windows"] = torch.zeros(1, 4, dtype=torch.int64)
    empty = CropMasks(asked["windows"], torch.zeros(0), SIZE)
    found, confidence = member.combine(**{**asked, "evidence": dict(a=empty, b=empty)})
    assert len(found) == 1 and confidence.tolist() == [0.0]


def test_a_known_image_is_answered_by_the_network_that_never_saw_it(tmp_path):
    member, asked = build(write_fusion(tmp_path / "work")), question()
    unknown, _ = member.combine(**asked)
    known, _ = member.combine(**{**asked, "image_key": "known"})
    single = []
    for part in range(3):
        member.about = replace(ABOUT, images={"known": part})
        single.append(member.combine(**{**asked, "image_key": "known"})[0].values)
    assert torch.equal(known.values, single[1])
    torch.testing.assert_close(unknown.values, torch.stack(single).mean(dim=0), atol=1e-6, rtol=0)
    assert not torch.allclose(single[0], single[1], atol=1e-3)


def test_what_is_finer_than_the_grid_stays(tmp_path):
    """Grids correct the mean; they do not replace it by what they can hold."""
    windows = torch.tensor([[0, 0, 84, 84]])
    y, x = torch.meshgrid(torch.arange(84), torch.arange(84), indexing="ij")
    stripes = torch.where((x + y) % 2 == 0, 0.7, 0.4).reshape(-1)
    masks = CropMasks(windows, stripes, SIZE)
    # One network: a mean over several probabilities has no odds of its own.
    asked = question(count=1) | dict(windows=windows, evidence=dict(a=masks, b=masks), image_key="known")
    found, _ = build(write_fusion(tmp_path / "work")).combine(**asked)
    odds = torch.logit(found.values.double().clamp(1e-6, 1 - 1e-6)).reshape(84, 84)
    # What is linear falls out of the second differences. 0.7 has odds of 7 / 3, 0.4 of 2 / 3.
    steps = (odds[:, 1:-1] - (odds[:, :-2] + odds[:, 2:]) / 2).abs()
    assert float(steps.median()) == pytest.approx(math.log(7 / 2), abs=0.05)


def test_its_identity_changes_with_its_files(tmp_path):
    folder = write_fusion(tmp_path / "work")
    first = build(folder).identity()
    assert build(folder, name="other").identity() != first == build(folder).identity()
    (folder / "config.py").write_text(CONFIG + "# changed\n")
    assert build(folder).identity() != first
    write_fusion(folder, trained=False)
    assert build(folder).identity() != first


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(config="model = dict(type='MaskRCNN')\n"), "needs the config.py of a feature fusion's training"),
        (dict(config="x = 1\n"), "needs the config.py of a feature fusion's training"),
        (dict(description=None), "best.pth: not the checkpoint of a feature fusion"),
        (dict(description=torch.zeros(3, dtype=torch.uint8)), "best.pth: not the checkpoint of a feature fusion"),
        ({"networks.0.last.bias": None}, "best.pth: its weights do not fit the network of"),
        ({"networks.0.last.bias": torch.zeros(2)}, "best.pth: its weights do not fit the network of"),
        (dict(config=CONFIG.replace("width=8", "width=16")), "best.pth: its weights do not fit the network of"),
        (dict(config=CONFIG.replace("width=8", "depth=8")), "best.pth: its weights do not fit the network of"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, changes, message):
    config = changes.pop("config", CONFIG)
    folder = write_fusion(tmp_path / "work", config=config)
    if changes:
        content = torch.load(folder / "best.pth", weights_only=True)
        for name, value in changes.items():
            content["state_dict"].pop(name)
            content["state_dict"] |= {} if value is None else {name: value}
        torch.save(content, folder / "best.pth")
    with pytest.raises(InputError, match=message):
        build(folder)


def test_files_that_are_missing_or_damaged(tmp_path):
    with pytest.raises(MissingFileError, match="config.py: no such config file"):
        build(tmp_path)
    folder = write_fusion(tmp_path / "work")
    content = (folder / "best.pth").read_bytes()
    (folder / "best.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="best.pth"):
        build(folder)
    torch.save([1, 2], folder / "best.pth")
    with pytest.raises(InputError, match="best.pth: no state_dict in it"):
        build(folder)


# -- with a real training ----------------------------------------------------------------------------------------------


@pytest.fixture
def trained(fusion_project):
    """The project after a short training, with the fusion in its ensemble config; and the config's path."""
    fusion_project.train("work", iterations=12, learning_rate=1e-2)
    path = fusion_project.root / "ensemble.py"
    path.write_text(path.read_text().replace("]\nfusion", f"    {fusion_project.spec('work')!r},\n]\nfusion"))
    return fusion_project, path


def test_it_votes_with_the_members(trained, tmp_path):
    project, path = trained
    config = load_ensemble_config(path)
    members = config.build()
    assert isinstance(members[2], FeatureFusionMember) and members[2].class_names == ("cell",)
    ensemble = Ensemble(members, config.parse_settings(("cell",)), config.fusion, EvidenceCache(tmp_path / "cache"))
    image, truth = project.scene.draw_scene(77)
    evidence = ensemble.collect(image)
    assert evidence.members == ("wide", "narrow", "feature_fusion") and len(evidence) == len(truth)
    wide, narrow, fused = (part.values for part in evidence.evidence)
    assert (fused - (wide + narrow) / 2).abs().max() > 0.05
    found = ensemble.predict(image)
    assert len(found) == len(truth)
    project.scene.SceneMember.encoded = 0
    assert ensemble.predict(image).to_dict() == found.to_dict() and project.scene.SceneMember.encoded == 0

    # An image of the training is known by its content.
    known = to_rgb(read_image(project.root / "data" / "images" / "scene_00.png"))
    assert image_key(known) in members[2].about.images and image_key(image) not in members[2].about.images

    # Members of another training are refused.
    other = load_ensemble_config(path, {"members.1.tweak": 1})
    with pytest.raises(InputError, match="feature_fusion: was trained with another checkpoint .* of narrow; train it"):
        Ensemble(other.build(), config.parse_settings(("cell",)), FusionOptions())
    with pytest.raises(InputError, match="feature_fusion: combines wide, narrow; narrow is not among the members"):
        Ensemble([members[0], members[2]])


def test_images_that_it_learned_from_are_not_scored(trained, tmp_path, monkeypatch):
    project, path = trained
    monkeypatch.chdir(project.root)
    weights = tmp_path / "weights.json"
    options = TuningOptions(tuner="uniform", budget=10)
    config = load_ensemble_config(path, {"data_root": "data"})
    tune_ensemble(config, weights, options, split="train", cache=tmp_path / "cache")
    with pytest.raises(InputError, match=r"--split val: feature_fusion was trained on its image scene_\d+; train"):
        compare_members(config, weights, "val")
