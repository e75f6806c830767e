"""Ensemble configs and inputs."""

from dataclasses import replace
from pathlib import Path

import pytest

from cellseg.ensemble import Ensemble, FusionOptions, save_weights, uniform_settings
from cellseg.ensemble.boxes.options import parse_fusion
from cellseg.ensemble.config import load_ensemble_config, member_name
from cellseg.ensemble.feature_fusion.combiner import Combiner
from cellseg.ensemble.inputs import find_inputs
from cellseg.ensemble.matching.match import MatchOptions
from cellseg.errors import InputError, MissingFileError
from cellseg.members import Member
from cellseg.members.build import MEMBER_TYPES

PROJECT = Path(__file__).resolve().parents[2]

GOOD = """
data_root = "data/x"
fold = 1
members = [dict(type="blob", name="one"), dict(type="blob", name="two"), dict(type="dim")]
fusion = dict(method="nms", proposers=["one"], weights=dict(two=0.5))
settings = dict(exponent=0.5, claim="score", types=dict(long=dict(min_area=9)))
"""


class Stand(Member):
    """Stands for the network of a spec."""

    def __init__(self, spec):
        self.name, self.class_names = member_name(spec), ("a", "b")
        self.proposes = spec["type"] not in ("upernet_crops", "feature_fusion")

    def refuse(self, *arguments):
        raise AssertionError("nothing should be asked")

    encode = boxes = evidence = identity = combine = refuse


def write(tmp_path, text):
    path = tmp_path / "ensemble.py"
    path.write_text(text)
    return path


def test_what_a_config_says(tmp_path):
    config = load_ensemble_config(write(tmp_path, GOOD), {"fold": 2, "members.0.device": "cuda"})
    assert config.names == ("one", "two", "dim") and config.fold == 2 and config.data_root == "data/x"
    assert config.members[0] == dict(type="blob", name="one", device="cuda")
    assert config.fusion == FusionOptions(method="nms", proposers=("one",), weights={"two": 0.5})
    settings = config.parse_settings(("round", "long"))
    assert settings.general.exponent == 0.5 and settings.claim == "score"
    assert settings.types["long"].min_area == 9 and settings.types["long"].exponent == 0.5


def test_fusion_and_settings_may_be_left_out(tmp_path):
    config = load_ensemble_config(write(tmp_path, 'members = [dict(type="blob")]'))
    assert config.fusion == FusionOptions() and config.parse_settings(("a",)) == uniform_settings(("blob",), ("a",))


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("fold = 1", 'fold = "1"', "fold: expected a int, found '1'"),
        ("fold = 1", "speed = 1", "speed: unknown key; an ensemble config has data_root, fold, members"),
        (
            'members = [dict(type="blob", name="one"), ',
            "members = [3, ",
            "members: expected a list with a dict for each",
        ),
        ('name="two"', 'name="one"', "members: the name 'one' stands twice; give each member its own name"),
        ('method="nms"', 'method="best"', "fusion: fuse_boxes: method 'best' is none of wbf, nmw, nms, soft_nms"),
        (
            'method="nms"',
            'method="nms", rule="avg"',
            "fusion: fuse_boxes: rule belongs to wbf and does nothing for nms",
        ),
        ('method="nms"', 'method="soft_nms", sigma="x"', "fusion: "),
        ("dict(two=0.5)", "dict(two=-0.5)", "fusion: fuse_boxes: weights [1.0, -0.5, 1.0] should be finite, 0 or more"),
        ('method="nms"', "margin=-1", "fusion.margin: expected 0 to 1, found -1"),
        ('method="nms"', "one_type=1", "fusion.one_type: expected True or False, found 1"),
        ('method="nms"', "colour=1", "fusion.colour: unknown key; known are method, iou_threshold"),
        ('["one"]', '["four"]', "fusion.proposers: unknown members ['four']; the ensemble has one, two, dim"),
        ("dict(two=0.5)", "dict(six=0.5)", "fusion.weights: unknown members ['six']"),
        ("settings = dict(", "settings = list(", "TypeError"),
    ],
)
def test_bad_configs(tmp_path, old, new, message):
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(InputError) as caught:
        load_ensemble_config(path)
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("exponent=0.5", "exponent=-1", "settings: global.exponent: expected 0 or more, found -1"),
        ("long=", "square=", "settings: types.square: unknown cell type"),
        ("min_area=9", "area=9", "settings: types.long.area: unknown key"),
        ("exponent=0.5", "weights=dict(one=1)", "settings: global.weights: no weight for ['two', 'dim']"),
        ("exponent=0.5", "margin=0.1", "settings.margin: in a config, the margin stands in fusion.margin"),
    ],
)
def test_bad_settings(tmp_path, old, new, message):
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(InputError) as caught:
        load_ensemble_config(path).parse_settings(("round", "long"))
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)


MATCH = """
members = [dict(type="blob", name="one"), dict(type="blob", name="two")]
combine = "match"
matching = dict(rule="any", iou_threshold=0.4, weights=dict(two=2))
"""


def test_matching_instead_of_a_vote(tmp_path):
    config = load_ensemble_config(write(tmp_path, MATCH), {"matching.min_area": 9})
    options = MatchOptions(rule="any", iou_threshold=0.4, min_area=9, weights={"two": 2})
    assert (config.combine, config.matching) == ("match", options)
    assert config.parse_settings(("a",)).matching == options
    assert load_ensemble_config(write(tmp_path, GOOD)).combine == "vote"


def test_matching_of_a_weights_file_comes_first(tmp_path):
    config = load_ensemble_config(write(tmp_path, MATCH))
    settings, weights = uniform_settings(config.names, ("a",)), tmp_path / "weights.json"
    save_weights(weights, settings, {})
    assert config.load_settings(weights, ("a",))[0].matching == config.matching
    save_weights(weights, replace(settings, matching=MatchOptions(rule="all")), {})
    assert config.load_settings(weights, ("a",))[0].matching == MatchOptions(rule="all")


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('"match"', '"mix"', "combine: 'mix' is none of vote, match"),
        ('"match"', "3", "combine: expected a str, found 3"),
        ('"match"', '"vote"', "matching: does nothing with combine = 'vote'; set combine = 'match'"),
        ('"any"', '"some"', "matching.rule: 'some' is none of any, majority, all"),
        ("iou_threshold=", "iou=", "matching.iou: unknown key; known are iou_threshold, rule"),
        ("two=2", "three=2", "matching.weights: no member 'three'; there are one, two"),
        ("two=2", "one=0, two=0", "matching.weights: the weights of one, two are all 0"),
        ("dict(rule", "[1] or dict(rule", "matching: expected names with values, found [1]"),
    ],
)
def test_matching_that_cannot_be_used(tmp_path, old, new, message):
    path = write(tmp_path, MATCH.replace(old, new))
    with pytest.raises(InputError) as caught:
        load_ensemble_config(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_members_are_built_with_what_their_combiners_read(tmp_path, monkeypatch):
    class Reader(Stand, Combiner):
        inputs = ("two", "three")

    def build(spec):
        return (Reader if spec["type"] == "feature_fusion" else Stand)(spec)

    text = "members = [dict(type='blob', name=name) for name in ('one', 'two', 'three')]\n"
    config = load_ensemble_config(write(tmp_path, f"{text}members.append(dict(type='feature_fusion', device='cpu'))"))
    asked = []
    monkeypatch.setattr("cellseg.ensemble.config.build_averaged", lambda spec: asked.append(spec) or build(spec))
    for names, expected in (
        (None, ["one", "two", "three", "feature_fusion"]),
        (["three", "one"], ["one", "three"]),
        (["two", "feature_fusion"], ["two", "three", "feature_fusion"]),
        (["feature_fusion"], ["two", "three", "feature_fusion"]),
    ):
        asked.clear()
        assert [member.name for member in config.build(names, device="cuda:3")] == expected
        assert sorted(member_name(spec) for spec in asked) == sorted(expected)
        assert {spec["device"] for spec in asked} == {"cuda:3"}


def test_options_for_what_is_not_there(tmp_path):
    path = write(tmp_path, GOOD)
    with pytest.raises(InputError, match="--cfg-options speed: the config has no 'speed'"):
        load_ensemble_config(path, {"speed": 3})
    with pytest.raises(MissingFileError, match="no such config file"):
        load_ensemble_config(tmp_path / "none.py")


def test_weights_belong_to_their_fusion(tmp_path):
    config = load_ensemble_config(write(tmp_path, GOOD))
    settings = uniform_settings(config.names, ("round", "long"))
    weights = tmp_path / "weights.json"
    save_weights(weights, settings, {"fusion": config.fusion.to_dict()})
    assert config.load_settings(weights, ("round", "long"))[0] == settings
    save_weights(weights, settings, {"fusion": FusionOptions(method="nms", margin=0.3).to_dict()})
    with pytest.raises(InputError, match=r"tuned with another fusion .* \(different: weights, proposers, margin\)"):
        config.load_settings(weights, ("round", "long"))


def test_fusion_options_as_json():
    options = FusionOptions(method="soft_nms", sigma=0.3, proposers=("a",), weights={"a": 2.0})
    assert parse_fusion(options.to_dict(), ["a", "b"], "x") == options


def test_inputs_that_are_files(tmp_path):
    for name in ("b.png", "a.PNG", "notes.md"):
        (tmp_path / name).write_bytes(b"")
    found = find_inputs(str(tmp_path), 0)
    assert [name for name, _ in found.images] == ["a", "b"] and found.passed_over == 1 and not found.skipped
    (tmp_path / "list.txt").write_text("b.png\nnotes.md\ngone.png\n")
    listed = find_inputs(str(tmp_path / "list.txt"), 0)
    assert [name for name, _ in listed.images] == ["b", "gone"]
    assert listed.skipped == (("notes.md", "not an image (.md)"),) and listed.passed_over == 0


def test_inputs_that_are_not_there(tmp_path):
    with pytest.raises(MissingFileError, match="not a data folder"):
        find_inputs(f"{tmp_path}:test", 0)
    with pytest.raises(MissingFileError, match="no such file or folder"):
        find_inputs(f"{tmp_path}/x:lest", 0)


CONFIGS = sorted((PROJECT / "configs" / "ensemble").glob("*.py"))
PAPER = {
    "paper_nms": (["mask_rcnn"], "vote"),
    "paper_resnest": (["mask_rcnn", "mask_rcnn_resnest"], "match"),
    "paper_ensemble": (["yolox", "mask_rcnn", "upernet"], "vote"),
}


@pytest.mark.parametrize("path", [*CONFIGS, PROJECT / "configs/demo/ensemble.py"], ids=lambda path: path.stem)
def test_ensemble_configs_of_the_project(path):
    head = path.read_text().partition("\n")[0]
    assert head.startswith(("# ", '"""')) and len(head) > 40
    config = load_ensemble_config(path)
    assert {spec["type"] for spec in config.members} <= set(MEMBER_TYPES)
    # Members, settings, fusion and the way to combine fit together.
    members = [Stand(spec) for spec in config.members]
    assert Ensemble(members, config.parse_settings(("a", "b")), config.fusion, combine=config.combine).members


@pytest.mark.parametrize("size", ["", "_small"])
@pytest.mark.parametrize("name", PAPER)
def test_the_rows_of_the_paper(name, size):
    config = load_ensemble_config(PROJECT / "configs" / "ensemble" / f"{name}{size}.py")
    assert (list(config.names), config.combine) == PAPER[name]
    assert config.matching is None or config.matching.rule == "any"
    assert name != "paper_nms" or config.fusion.method == "nms"


def test_unsafe_load_reaches_every_member(tmp_path):
    path = tmp_path / "ensemble.py"
    path.write_text('members = [dict(type="yolox", work_dir="a"), dict(type="upernet", work_dir="b")]\n')
    config = load_ensemble_config(path)
    assert [spec.get("unsafe_load", False) for spec in config.members] == [False, False]
    assert [spec["unsafe_load"] for spec in config.with_unsafe_load().members] == [True, True]
    assert config.with_unsafe_load().names == config.names
