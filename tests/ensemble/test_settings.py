"""Settings by cell type, for some members, and their file."""

import json
from dataclasses import replace

import pytest
import torch

from cellseg.ensemble import Calibration, EnsembleSettings, Settings, load_weights, save_weights, uniform_settings
from cellseg.ensemble.matching.match import MatchOptions
from cellseg.ensemble.weights_file import parse_settings
from cellseg.errors import InputError, MissingFileError

MEMBERS, TYPES = ("a", "b"), ("round", "long")
GENERAL = Settings(weights=dict(a=3.0, b=1.0), exponent=0.5, score_threshold=0.2)
CALIBRATION = {"a": Calibration(0.5, -0.25)}
ALONE = EnsembleSettings(MEMBERS, TYPES, Settings(weights=dict(a=1.0, b=0.0), min_area=7), calibration=CALIBRATION)
EQUAL = EnsembleSettings(MEMBERS, TYPES, Settings(weights=dict(a=1.0, b=1.0)), vote="staple", calibration=CALIBRATION)
FULL = EnsembleSettings(
    MEMBERS,
    TYPES,
    GENERAL,
    {"long": replace(GENERAL, mask_threshold=0.4, fill_holes=False, weights=dict(a=0.0, b=1.0))},
    "score",
    {"a": ALONE},
    "median",
    CALIBRATION,
    {"uniform": EQUAL, "plain": replace(EQUAL, claim="score", calibration={})},
    MatchOptions(rule="all", weights={"a": 2.0}),
    0.25,
)


def test_types_fall_back_to_the_general_settings():
    labels = torch.tensor([1, 0, 1])
    assert FULL.by_label("mask_threshold", labels).tolist() == [0.4, 0.5, 0.4]
    assert FULL.by_label("fill_holes", labels).tolist() == [False, True, False]
    assert FULL.weight_table().tolist() == [[0.75, 0.0], [0.25, 1.0]]
    assert FULL.weight_table(["b"]).tolist() == [[0.25, 1.0]]


def test_only_some_members():
    assert FULL.only(["b", "a"]) is FULL
    assert FULL.only(["a"]) is ALONE
    quiet = replace(FULL, alone={}, types={}).only(["b"])
    assert quiet.general.weights == dict(a=0.0, b=1.0) and quiet.general.exponent == 0.5
    assert quiet.calibration == FULL.only(["a"]).calibration == CALIBRATION
    assert quiet.vote == "median" and quiet.matching == FULL.matching and not quiet.variants
    with pytest.raises(InputError, match="members a: their weights are all 0 in the settings 'long'"):
        replace(FULL, alone={}).only(["a"])
    with pytest.raises(InputError, match=r"members c: the ensemble has a, b"):
        FULL.only(["a", "c"])
    with pytest.raises(InputError, match=r"members \(none\)"):
        FULL.only([])


def test_the_file_keeps_everything(tmp_path):
    path = tmp_path / "weights.json"
    save_weights(path, FULL, {"seed": 3})
    settings, provenance = load_weights(path, MEMBERS, TYPES)
    assert settings == FULL and provenance == {"seed": 3}
    again = tmp_path / "again.json"
    save_weights(again, settings, provenance)
    assert again.read_bytes() == path.read_bytes()


def test_members_may_stand_in_another_order(tmp_path):
    save_weights(tmp_path / "w.json", uniform_settings(("b", "a"), TYPES), {})
    assert load_weights(tmp_path / "w.json", MEMBERS, TYPES)[0].members == MEMBERS


def test_what_is_left_out_is_general_or_default():
    settings = parse_settings({"global": {"exponent": 0.3}, "types": {"round": {"min_area": 5}}}, MEMBERS, TYPES, "x")
    assert settings.general == Settings(weights=dict(a=1.0, b=1.0), exponent=0.3)
    assert settings.types["round"] == replace(settings.general, min_area=5)


def test_a_calibration_inside_is_written_where_it_differs():
    content = FULL.to_dict()
    assert content["calibration"] == {"a": {"slope": 0.5, "intercept": -0.25}}
    assert "calibration" not in content["alone"]["a"] and "calibration" not in content["variants"]["uniform"]
    assert content["variants"]["plain"]["calibration"] == {}


def test_files_of_before_are_read_as_they_were():
    old = {
        "format": 1,
        "members": ["a", "b"],
        "class_names": ["round", "long"],
        "global": {"weights": {"a": 3.0, "b": 1.0}, "exponent": 0.5, "score_threshold": 0.2, "claim": "score"},
        "types": {},
        "alone": {"a": {"global": {"weights": {"a": 1.0, "b": 0.0}, "min_area": 7, "claim": "score"}, "types": {}}},
        "provenance": {},
    }
    settings = parse_settings({key: old[key] for key in ("global", "types", "alone")}, MEMBERS, TYPES, "x")
    assert settings.general == GENERAL and settings.claim == "score" and settings.alone["a"].general.min_area == 7
    for one in (settings, settings.alone["a"]):
        assert (one.vote, one.calibration, one.variants, one.matching) == ("mean", {}, {}, None)


def change(path, *keys, value):
    """The full weights file with one value replaced; ``...`` takes the key away."""

    def make(content):
        node = content
        for key in keys[:-1]:
            node = node[key]
        if value is ...:
            del node[keys[-1]]
        else:
            node[keys[-1]] = value
        return content

    save_weights(path, FULL, {})
    path.write_text(json.dumps(make(json.loads(path.read_text()))))


@pytest.mark.parametrize(
    "keys, value, message",
    [
        (("format",), 2, "format: expected 1 (a file of tools/tune_ensemble.py), found 2"),
        (("format",), ..., "format: expected 1 (a file of tools/tune_ensemble.py), found None"),
        (("members",), ["a"], "members: the ensemble has ['a', 'b'], the file is for ['a']; tune again"),
        (("members",), ["a", "z"], "members: the ensemble has ['a', 'b'], the file is for ['a', 'z']; tune again"),
        (("members",), ..., "members: the ensemble has ['a', 'b'], the file is for None; tune again"),
        (("class_names",), ["long", "round"], "class_names: the ensemble has ['round', 'long']"),
        (("provenance",), 5, "provenance: expected an object, found 5"),
        (("extra",), 1, "extra: unknown key; known are format, members"),
        (("global",), ..., "global: missing"),
        (("global",), [1], "global: expected names with values, found [1]"),
        (("global", "speed"), 1, "global.speed: unknown key; known are weights, exponent"),
        (("global", "weights", "a"), -1, "global.weights.a: expected 0 or more, found -1"),
        (("global", "weights", "a"), float("nan"), "global.weights.a: expected a number, found nan"),
        (("global", "weights", "a"), "much", "global.weights.a: expected a number, found 'much'"),
        (("global", "weights", "c"), 1, "global.weights: unknown members ['c']; the ensemble has a, b"),
        (("global", "weights", "a"), ..., "global.weights: no weight for ['a']; the ensemble has a, b"),
        (("global", "weights"), {"a": 0, "b": 0}, "global.weights: the weights are all 0"),
        (("global", "exponent"), -0.5, "global.exponent: expected 0 or more, found -0.5"),
        (("global", "mask_threshold"), 1.5, "global.mask_threshold: expected 0 to 1, found 1.5"),
        (("global", "score_threshold"), True, "global.score_threshold: expected a number, found True"),
        (("global", "nms_iou"), None, "global.nms_iou: expected a number, found None"),
        (("global", "min_area"), 2.5, "global.min_area: expected whole pixels, found 2.5"),
        (("global", "fill_holes"), 1, "global.fill_holes: expected true or false, found 1"),
        (("global", "claim"), "mine", "global.claim: 'mine' is none of probability"),
        (("global", "vote"), "loudest", "global.vote: 'loudest' is none of mean, median, majority, log_odds, staple"),
        (("global", "vote"), ["mean"], "global.vote: ['mean'] is none of mean, median"),
        (("types", "long", "vote"), "mean", "types.long.vote: unknown key"),
        (("calibration",), [1], "calibration: expected names with values, found [1]"),
        (("calibration", "c"), {}, "calibration.c: unknown member; the ensemble has a, b"),
        (("calibration", "a"), 1, "calibration.a: expected names with values, found 1"),
        (("calibration", "a", "bias"), 1, "calibration.a.bias: unknown key; known are slope, intercept"),
        (("calibration", "a", "slope"), ..., "calibration.a.slope: missing"),
        (("calibration", "a", "slope"), -0.5, "calibration.a.slope: expected 0 or more, found -0.5"),
        (("calibration", "a", "slope"), "1", "calibration.a.slope: expected a number, found '1'"),
        (("calibration", "a", "intercept"), float("inf"), "calibration.a.intercept: expected a number, found inf"),
        (("global", "margin"), 1.5, "global.margin: expected 0 to 1, found 1.5"),
        (("alone", "a", "global", "margin"), "wide", "alone.a: global.margin: expected a number, found 'wide'"),
        (("types", "long", "margin"), 0.2, "types.long.margin: unknown key"),
        (("variants",), 7, "variants: expected names with values, found 7"),
        (("variants", "uniform"), 7, "variants.uniform: expected names with values, found 7"),
        (("variants", "uniform", "alone"), {}, "variants.uniform: alone: unknown key; known are global, types"),
        (("variants", "uniform", "global", "vote"), 1, "variants.uniform: global.vote: 1 is none of mean"),
        (("variants", "uniform", "global", "claim"), 1, "variants.uniform: global.claim: 1 is none of probability"),
        (
            ("variants", "uniform", "global", "weights", "b"),
            -1,
            "variants.uniform: global.weights.b: expected 0 or more",
        ),
        (("variants", "uniform", "types"), {"odd": {}}, "variants.uniform: types.odd: unknown cell type"),
        (("variants", "plain", "calibration"), {"z": {}}, "variants.plain: calibration.z: unknown member"),
        (("alone", "a", "calibration"), 3, "alone.a: calibration: expected names with values, found 3"),
        (("matching",), "any", "matching: expected names with values, found 'any'"),
        (("matching", "speed"), 1, "matching.speed: unknown key"),
        (("matching", "rule"), "some", "matching.rule: 'some' is none of any, majority, all"),
        (("matching", "iou_threshold"), None, "matching.iou_threshold: expected a number, found None"),
        (("matching", "weights"), {"c": 1}, "matching.weights: unknown members ['c']; the ensemble has a, b"),
        (("types", "square"), {}, "types.square: unknown cell type; the ensemble has round, long"),
        (("types", "long"), 3, "types.long: expected names with values, found 3"),
        (("types", "long", "claim"), "score", "types.long.claim: unknown key"),
        (("types", "long", "min_area"), -1, "types.long.min_area: expected 0 or more, found -1"),
        (("alone", "c"), {}, "alone.c: unknown member; the ensemble has a, b"),
        (("alone", "a", "alone"), {}, "alone.a: alone: unknown key"),
        (("alone", "b"), {"global": {}}, "alone.b: weights: every other member should have weight 0"),
    ],
)
def test_bad_files_name_the_file_and_the_key(tmp_path, keys, value, message):
    path = tmp_path / "weights.json"
    change(path, *keys, value=value)
    with pytest.raises(InputError) as caught:
        load_weights(path, MEMBERS, TYPES)
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)


def test_no_file_and_no_json(tmp_path):
    with pytest.raises(MissingFileError, match="no such file"):
        load_weights(tmp_path / "none.json", MEMBERS, TYPES)
    (tmp_path / "text.json").write_text("{weights")
    with pytest.raises(InputError, match="not a JSON file"):
        load_weights(tmp_path / "text.json", MEMBERS, TYPES)
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(InputError, match="format: expected 1 .* found 'list'"):
        load_weights(tmp_path / "list.json", MEMBERS, TYPES)
