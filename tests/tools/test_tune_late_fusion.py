"""tools/tune_late_fusion.py: from files and from work folders to weights and a table."""

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest

from cellseg.errors import InputError
from cellseg.multimodal.late_fusion import load_fusion_weights, load_late_ensemble, read_probabilities
from cellseg.training.door import train

PROJECT = Path(__file__).resolve().parents[2]
CONFIGS = runpy.run_path(str(PROJECT / "tests" / "multimodal" / "training_configs.py"))
SPLITS = ("train", "val", "test")


def write_model(path, seed, skill, count=90):
    labels = np.random.default_rng(5).integers(2, size=count)
    logits = np.random.default_rng(seed).normal(size=count) + skill * (2 * labels - 1)
    good = 1 / (1 + np.exp(-logits))
    rows = [
        f"s{index},{SPLITS[index % 3]},{('bad', 'good')[labels[index]]},g{index // 3},{1 - good[index]},{good[index]}"
        for index in range(count)
    ]
    path.write_text("id,split,label,group,bad,good\n" + "\n".join(rows) + "\n")
    return str(path)


@pytest.fixture
def call(load, capsys):
    tool = load("tune_late_fusion")

    def run(*arguments):
        code = tool.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


def test_files_of_probabilities_are_fused(call, tmp_path):
    models = [write_model(tmp_path / f"{name}.csv", seed, 1.0) for name, seed in (("voice", 1), ("face", 2))]
    early = write_model(tmp_path / "both.csv", 3, 2.0)
    out = tmp_path / "out"
    code, text, _ = call(*models, "--out", out, "--compare", f"early={early}", "--by", "log_loss", "--budget", 30)
    assert code == 0 and text == (out / "late_fusion.md").read_text()
    content = json.loads((out / "late_fusion.json").read_text())
    names = [row["name"] for row in content["rows"]]
    assert names == ["voice", "face", "early", "uniform", "random", "differential_evolution", "aquila"]
    weights, provenance = load_fusion_weights(out / "weights.json")
    assert weights.models == ("voice", "face") and provenance["tuner"] == content["chosen"]
    assert provenance["tuned_on"] == {"split": "val", "samples": 30} and provenance["by"] == "log_loss"
    assert provenance["models"]["voice"]["file"] == "voice.csv" and provenance["evaluations"] <= 30
    costs = {row["name"]: row["tuned"] for row in content["rows"] if row["kind"] == "tuner"}
    assert costs[content["chosen"]] == min(costs.values())
    assert read_probabilities(out / "probabilities" / "early.npz").ids[:2] == ("s0", "s1")
    before = (out / "weights.json").read_bytes()
    again = [f"{name}={out / 'probabilities' / name}.npz" for name in ("voice", "face")]
    assert call(*again, "--out", tmp_path / "two", "--by", "log_loss", "--budget", 30)[0] == 0
    same = load_fusion_weights(tmp_path / "two" / "weights.json")[0]
    assert same.values == pytest.approx(weights.values) and (out / "weights.json").read_bytes() == before


def test_classical_baselines_learn_from_a_feature_table(call, tmp_path):
    model = write_model(tmp_path / "voice.csv", 1, 1.0)
    labels = np.random.default_rng(5).integers(2, size=90)
    features = np.random.default_rng(6).normal(size=(90, 3)) + 4 * labels[:, None]
    np.savez(tmp_path / "table.npz", ids=np.array([f"s{index}" for index in range(90)]), values=features)
    arguments = [model, "--out", tmp_path / "out", "--tuners", "uniform", "--features", tmp_path / "table.npz"]
    assert call(*arguments, "--baselines", "knn", "logistic")[0] == 0
    rows = {row["name"]: row for row in json.loads((tmp_path / "out" / "late_fusion.json").read_text())["rows"]}
    assert list(rows) == ["voice", "knn(table)", "logistic(table)", "uniform"]
    assert rows["knn(table)"]["scores"]["accuracy"] > 0.9 and rows["knn(table)"]["kind"] == "other"


def test_work_folders_are_fused_and_answer_together(call, tmp_path):
    short = {"iterations": 20, "train_cfg.val_interval": 20, "source.options.count": 60}
    short["source.options.signal"] = "redundant"
    # Samples without what one of the models reads are tuned on and answered all the same.
    short["source.options.missing"] = {"one": 0.4, "two": 0.3}
    lines = CONFIGS["TABLES"].splitlines()
    for name, other in (("one", "two"), ("two", "one")):
        text = "\n".join(line for line in lines if f"{other}=dict(" not in line and "fusion=" not in line)
        path = CONFIGS["write_training_config"](tmp_path, text.replace("    heads=", "    fusion=None,\n    heads="))
        train(path, tmp_path / name, options=short)
    out = tmp_path / "out"
    folders = [tmp_path / "one", tmp_path / "two"]
    code, _, error = call(*folders, "--out", out, "--budget", 10, "--baselines", "logistic", "--device", "cpu")
    assert code == 0, error
    rows = [row["name"] for row in json.loads((out / "late_fusion.json").read_text())["rows"]]
    assert rows[:4] == ["one", "two", "logistic(one)", "logistic(two)"]
    ensemble = load_late_ensemble(out / "weights.json", {path.name: path for path in folders}, device="cpu")
    said = [read_probabilities(out / "probabilities" / f"{path.name}.npz") for path in folders]
    assert said[0].features.shape == (60, 16)
    from cellseg.multimodal.comparison.predictions import open_trained

    records = open_trained(folders[0], "cpu").data.records("test")
    places = [said[0].ids.index(record.id) for record in records]
    expected = ensemble.weights.combine(np.stack([each.probabilities[places] for each in said]))
    assert {len(record.inputs) for record in records} == {1, 2}
    answers = ensemble.predict(records)
    with pytest.raises(InputError, match="record 2: has no input; expected one or two"):
        ensemble.predict([records[0], {"id": "x", "one": None}])
    found = np.array([list(answer["probabilities"].values()) for answer in answers])
    assert found == pytest.approx(expected, abs=1e-5)
    assert [answer["id"] for answer in answers] == [record.id for record in records]
    assert [answer["label"] for answer in answers] == [f"class {place}" for place in expected.argmax(axis=1)]
    # The two as trainings of several seeds.
    for name, order in (("a", folders), ("b", folders[::-1])):
        for seed, folder in zip((0, 4), order, strict=True):
            shutil.copytree(folder, tmp_path / "runs" / name / f"seed-{seed}")
    models = [tmp_path / "runs" / name for name in "ab"]
    code, _, error = call(*models, "--out", tmp_path / "none")
    assert code == 2 and f"{models[0]}: holds trainings of several seeds; name one of them, or say which" in error
    common = ["--out", tmp_path / "seeds", "--budget", 10, "--device", "cpu"]
    code, text, error = call(*models, "--seeds", 0, 4, *common)
    assert code == 0, error
    assert text == (tmp_path / "seeds" / "late_fusion.md").read_text() and "Seeds 0, 4: mean" in text
    content = json.loads((tmp_path / "seeds" / "late_fusion.json").read_text())
    first = {row["name"]: row for row in json.loads((out / "late_fusion.json").read_text())["rows"]}
    each = [first[name]["scores"]["log_loss"] for name in ("one", "two")]
    assert content["rows"][0]["scores"]["log_loss"] == each and content["rows"][1]["scores"]["log_loss"] == each[::-1]
    for seed in (0, 4):
        own = load_fusion_weights(tmp_path / "seeds" / f"seed-{seed}" / "weights.json")[1]
        assert own["seed"] == seed and list(own["models"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "none: no such work folder or file"),
        (["{voice}", "x={short}"], "x: has no sample 's88' in 'val', which voice has"),
        (
            ["{voice}", "--tuners", "luck"],
            "--tuners luck: expected some of aquila, differential_evolution, random, uni",
        ),
        (["{voice}", "--baselines", "tree"], "--baselines tree: expected some of knn, logistic, random_forest, svm"),
        (["{voice}", "--baselines", "knn"], "--baselines: files of probabilities hold no features; give work folders"),
        (
            ["{voice}", "--features", "x"],
            "--features: are what --baselines learn from; give these too, or leave it out",
        ),
        (["{voice}", "--unseen", "val"], "tuning and scoring on 'val' alone says nothing of new samples"),
        (["{voice}", "--seeds", "0", "0"], "--seeds: expected different whole numbers from 0 on, found [0, 0]"),
        (["{voice}", "--seeds", "0"], "voice.csv/seed-0: --seeds: no such work folder; tools/compare_models.py trains"),
        (["={voice}"], "expected NAME=PATH, or the path of a work folder or file"),
        (["{voice}", "--budget", "1"], "--budget 1: equal weights and each of 1 models alone are always tried; give 2"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(call, tmp_path, arguments, message):
    paths = {"voice": write_model(tmp_path / "voice.csv", 1, 1.0), "short": write_model(tmp_path / "s.csv", 1, 1.0)}
    text = (tmp_path / "s.csv").read_text().splitlines()
    (tmp_path / "s.csv").write_text("\n".join(line for line in text if not line.startswith("s88,")) + "\n")
    out = tmp_path / "out"
    code, _, error = call(*[part.format(**paths) for part in arguments], "--out", out)
    assert code == 2 and message in error and error.count("\n") == 1 and not out.exists()
