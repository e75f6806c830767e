"""Training a feature fusion through the door: what it learns, resuming, and what it refuses."""

import shutil

import pytest
import torch

from cellseg.ensemble.feature_fusion.training import FusedBoxes
from cellseg.errors import InputError
from cellseg.models.fusion_network import FusionDescription
from cellseg.openmmlab import load_checkpoint_file
from cellseg.training.curves import read_curves


def weights_of(path):
    return load_checkpoint_file(path)["state_dict"]


def scores_of(folder):
    return {name: value for _, phase, name, value in read_curves(folder / "curves.csv") if phase == "val"}


def test_what_a_training_leaves(fusion_project):
    result = fusion_project.train("work")
    folder = fusion_project.root / "work"
    assert {"config.py", "best.pth", "curves.csv", "train.log", "iter_6.pth"} <= {
        path.name for path in folder.iterdir()
    }
    scores = scores_of(folder)
    assert set(scores) == {"soft_iou", "mean_soft_iou"} and result["best_score"] == scores["soft_iou"]
    published = torch.load(folder / "best.pth", weights_only=True)
    assert published["meta"]["score_name"] == "soft_iou" and published["meta"]["class_names"] == ["cell"]
    about = FusionDescription.from_tensor(published["state_dict"]["description"], "best.pth")
    assert about.inputs == ("wide", "narrow") and about.channels == dict(wide=1, narrow=0) and about.parts == 3
    assert len(about.images) == 9 and sorted(about.images.values()) == [0] * 3 + [1] * 3 + [2] * 3


def test_the_plain_mean_is_scored_as_it_is(fusion_project):
    # With a learning rate that changes nothing: the fusion still is the plain mean.
    fusion_project.train("work", iterations=2, learning_rate=1e-12, warm_up=1)
    scores = scores_of(fusion_project.root / "work")
    assert 0.5 < scores["mean_soft_iou"] < 0.8
    assert scores["soft_iou"] == pytest.approx(scores["mean_soft_iou"], abs=1e-4)


def test_the_same_training_gives_the_same_weights_and_members_are_asked_once(fusion_project):
    encoded = fusion_project.scene.SceneMember
    fusion_project.train("one", cache=str(fusion_project.root / "cache"))
    assert encoded.encoded == 2 * 9
    fusion_project.train("two", cache=str(fusion_project.root / "cache"))
    assert encoded.encoded == 2 * 9
    fusion_project.train("three")
    assert encoded.encoded == 4 * 9
    one, *others = (weights_of(fusion_project.root / name / "best.pth") for name in ("one", "two", "three"))
    for other in others:
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_resumed_training_ends_like_an_undisturbed_one(fusion_project):
    options = {"iterations": 8, "default_hooks.checkpoint.interval": 4, "default_hooks.checkpoint.max_keep_ckpts": -1}
    fusion_project.train("whole", **options)
    whole, part = fusion_project.root / "whole", fusion_project.root / "part"
    shutil.copytree(whole, part)
    for path in [part / "best.pth", part / "iter_8.pth", *part.glob("best_*.pth")]:
        path.unlink()
    (part / "last_checkpoint").write_text(str(part / "iter_4.pth"))
    fusion_project.train("part", resume=True, **options)
    expected, found = weights_of(whole / "best.pth"), weights_of(part / "best.pth")
    assert expected.keys() == found.keys() and all(torch.equal(expected[name], found[name]) for name in expected)
    assert not torch.equal(weights_of(part / "iter_4.pth")["networks.0.last.weight"], found["networks.0.last.weight"])
    assert scores_of(whole) == scores_of(part)


@pytest.mark.parametrize(
    "changes, different",
    [
        (dict(ensemble_options=["members.1.tweak=1"]), "identities"),
        (dict(ensemble_options="members.0.name=other members.1.tweak=0"), "identities, channels"),
        (dict(parts=2, inputs=["wide"]), "identities, channels, parts, images"),
        (dict(use_features=False), "channels"),
    ],
)
def test_other_evidence_does_not_continue_a_training(fusion_project, changes, different):
    fusion_project.train("work")
    message = f"the training began with other evidence .different: {different}.; start afresh with --overwrite"
    with pytest.raises(InputError, match=message):
        fusion_project.train("work", resume=True, iterations=8, **changes)


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(split="train"), "split 'train': the members know its images by heart"),
        (dict(split="all"), "split 'all': the members know its images by heart"),
        (dict(inputs=["blunt"]), "inputs: no member 'blunt'; it has wide, narrow"),
        (dict(inputs="wide"), "inputs: expected a list of members' names or None, found 'wide'"),
        (dict(inputs=["narrow"], use_features=False), "none of its members .narrow. proposes boxes"),
        (dict(inputs=[]), "inputs: expected a list of members' names or None, found"),
        (dict(use_features="yes"), "use_features: expected True or False, found 'yes'"),
        (dict(empty_weight=1.5), "empty_weight: expected 0 to 1, found 1.5"),
        (dict(empty_weight=True), "empty_weight: expected 0 to 1, found True"),
        (dict(parts=1), "parts = 1: expected a whole number, 2 or more"),
        (dict(parts=10), "split 'val' of fold 0: has images of 9 group.s., too few for parts = 10; set parts=9"),
        (dict(ensemble="nowhere.py"), "ensemble: 'nowhere.py': no such config file; give the ensemble's"),
        (dict(ensemble_options=[3]), "ensemble_options: expected texts KEY=VALUE, found"),
        (dict(ensemble_options=["colour"]), "--cfg-options colour: expected KEY=VALUE"),
        (dict(ensemble_options="colour=1"), "the config has no 'colour'"),
        (dict(ensemble_options="members.0.colour=False"), "none of wide, narrow has features; set use_features=False"),
        (dict(cache=3), "cache: expected a text or None, found 3"),
        (
            dict(ensemble_options=["members.0.class_names=('x',)", "members.1.class_names=('x',)"]),
            r"has the types \['cell'\], the members know \['x'\]; train the fusion on the data",
        ),
        ({"model.evidence.cash": "x"}, "evidence.cash: unknown; expected are"),
    ],
)
def test_what_is_refused(fusion_project, changes, message):
    with pytest.raises(InputError, match=message):
        fusion_project.train("work", **changes)


def test_the_boxes_of_a_split_without_cells(fusion_project):
    with pytest.raises(InputError, match="no box of the members meets a true cell"):
        # The wide member as the only one, with windows that its boxes do not reach.
        fusion_project.train("work", ensemble_options="fusion.skip_score=0.95")


def test_the_fusion_itself_is_no_input(fusion_project):
    fusion_project.train("work", iterations=2, warm_up=1)
    path = fusion_project.root / "ensemble.py"
    path.write_text(path.read_text().replace("members = [", f"members = [{fusion_project.spec('work')!r},"))
    fusion_project.train("again", iterations=2, warm_up=1)
    about = weights_of(fusion_project.root / "again" / "best.pth")["description"]
    assert FusionDescription.from_tensor(about, "again").inputs == ("wide", "narrow")


def test_samples(fusion_project):
    names = ("ensemble", "data_root", "cache")
    source = {name: value for name, value in fusion_project.options().items() if name in names}
    source |= dict(ensemble_options=[], fold=0, split="val", inputs=None, use_features=True, parts=3)
    samples = FusedBoxes(source | dict(empty_weight=0.25, device=None))
    assert samples.metainfo == {"classes": ("cell",)} and len(samples) > 30
    shapes = {name: tuple(values.shape) for name, values in samples[0].items()}
    assert shapes == dict(
        evidence=(2, 28, 28), confidence=(2,), features=(1, 7, 7), part=(), target=(28, 28), weight=()
    )


@pytest.mark.slow
def test_features_show_which_member_is_right(fusion_project):
    options = dict(iterations=120, width=16, batch_size=32, learning_rate=5e-3)
    fusion_project.train("features", **options)
    fusion_project.train("evidence", config="evidence_only", **options)
    features, evidence = (scores_of(fusion_project.root / name) for name in ("features", "evidence"))
    assert features["mean_soft_iou"] == evidence["mean_soft_iou"]
    assert features["soft_iou"] > features["mean_soft_iou"] + 0.1
    assert features["soft_iou"] > evidence["soft_iou"] + 0.1
