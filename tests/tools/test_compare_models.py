"""tools/compare_models.py: two trainings beside each other, started twice."""

import json
import runpy
from pathlib import Path

from cellseg.multimodal.comparison.predictions import open_trained, predict_split

PROJECT = Path(__file__).resolve().parents[2]
CONFIGS = runpy.run_path(str(PROJECT / "tests" / "multimodal" / "training_configs.py"))


def write(folder, name, text):
    path = CONFIGS["write_training_config"](folder, text)
    return str(path.rename(folder / f"{name}.py"))


def test_two_configs_are_compared_and_nothing_is_trained_twice(load, tmp_path, capsys):
    both = write(tmp_path, "both", CONFIGS["TABLES"])
    lines = [line for line in CONFIGS["TABLES"].splitlines() if "two=dict(" not in line and "fusion=" not in line]
    alone = "\n".join(lines).replace("    heads=", "    fusion=None,\n    heads=")
    one = write(tmp_path, "one", alone)
    out = tmp_path / "out"
    command = [both, one, "--seeds", "0", "1", "--out", str(out), "--device", "cpu"]
    command += ["--cfg-options", "iterations=40", "train_cfg.val_interval=40", "batch_size=64"]
    tool = load("compare_models")
    assert tool.main(command) == 0
    first = capsys.readouterr()
    assert "both, seed 0: trained" in first.err and "one, seed 1: trained" in first.err
    content = json.loads((out / "comparison.json").read_text())
    assert [row["name"] for row in content["rows"]] == ["both", "one", "majority"]
    assert content["about"]["seeds"] == [0, 1] and content["about"]["samples"] == {"classification": 20}
    scores = [row["scores"]["classification"]["accuracy"] for row in content["rows"]]
    assert len(scores[0]["values"]) == 2 and scores[0]["difference"] is None
    # Neither table tells the class alone.
    assert scores[0]["mean"] > scores[1]["mean"] + 0.2
    value, low, high = scores[1]["difference"]
    assert abs(value - (scores[1]["mean"] - scores[0]["mean"])) < 1e-5 and low <= value <= high
    assert first.out.endswith((out / "comparison.md").read_text())
    assert tool.main(command) == 0
    second = capsys.readouterr()
    assert "both, seed 0: is trained already" in second.err and ": trained" not in second.err
    assert json.loads((out / "comparison.json").read_text()) == content


READING = """
reader, data_root = "vqa", "text"
model = dict(
    encoders=dict(
        text=dict(
            type="TextTransformerEncoder", vocabulary_size="{vocabulary_size}", width=16, layers=1, heads=2,
            max_length="{max_length}",
        ),
    ),
    fusion=None,
    heads=dict(vqa=dict(type="AnswerClassifier", num_answers="{num_answers}", hidden=16)),
)
best_by = "vqa_accuracy"
learning_rate = 1e-2
iterations = 60
train_cfg = dict(val_interval=60)
"""

DESCRIBING = """
reader, data_root = "captions", "text"
source = dict(image_size=(32, 32), max_length=60)
model = dict(
    encoders=dict(image=dict(type="ConvEncoder", width=16, strides=(2, 2, 2))),
    fusion=None,
    heads=dict(
        captioning=dict(
            type="CaptionTransformer", vocabulary_size="{vocabulary_size}", pad="{pad}", begin="{begin}", end="{end}",
            max_length="{max_length}", width=16, layers=1, heads=2, beam=1,
        ),
    ),
)
best_by = "captioning_cider"
batch_size = 8
iterations = 4
train_cfg = dict(val_interval=4)
"""


def test_answers_and_captions_can_be_scored_by_what_they_say(blob_project):
    root = blob_project.root
    assert blob_project.call("derive_text", "dataset", "data/blobs", "--out", "text")[0] == 0
    configs = [write(root, "reading", READING), write(root, "describing", DESCRIBING)]
    code, table, err = blob_project.call("compare_models", *configs, "--out", "out", "--device", "cpu")
    assert code == 0, err
    texts = ["--answers", "out/runs/reading/seed-0/answers_test.json"]
    texts += ["--captions", "out/runs/describing/seed-0/captions_test.json"]
    code, _, err = blob_project.call("derive_text", "score", "--data", "text", *texts, "--json", "scores.json")
    assert code == 0, err
    scores = json.loads((root / "scores.json").read_text())
    assert scores["captions"]["test"]["images"] == 4
    # The two tools agree on every kind of question.
    content = json.loads((root / "out" / "comparison.json").read_text())
    found = {row["name"]: row["scores"].get("vqa", {}) for row in content["rows"]}
    expected = scores["questions"]["test"]
    assert set(content["about"]["questions"]) == set(expected) - {"all"} >= {"cell_type", "has_type"}
    for kind, values in expected.items():
        name = "accuracy" if kind == "all" else f"accuracy:{kind}"
        assert abs(found["reading"][name]["mean"] - values["answers"]) < 1e-4
        assert values["questions"] == content["about"]["questions"].get(kind, content["about"]["samples"]["vqa"])
        assert found["majority"][name]["difference"] and found["question only"][name]["difference"]
    assert expected["all"]["answers"] > 0.2
    assert "| accuracy by kind | questions | reading | majority | question only |" in table


def test_matching_is_scored_by_searching_through_the_split(load, tmp_path, capsys):
    config, out = PROJECT / "configs" / "multimodal" / "ablations" / "matching_concat.py", tmp_path / "out"
    command = [str(config), "--out", str(out), "--device", "cpu", "--cfg-options", "width=16", "batch_size=8"]
    command += ["iterations=4", "train_cfg.val_interval=4", "source.options.count=100"]
    command += ["source.fractions=(0.6,0.2,0.2)"]
    assert load("compare_models").main(command) == 0, capsys.readouterr().err
    content = json.loads((out / "comparison.json").read_text())
    scores = {name: one["mean"] for name, one in content["rows"][0]["scores"]["matching"].items()}
    # The same by hand: the probability of every picture of the test split with every caption of it.
    trained = open_trained(out / "runs" / config.stem / "seed-0", device="cpu")
    rows = predict_split(trained, "test").pairs
    images, texts = (sorted({row.truth[name] for row in rows}) for name in ("image", "text"))
    assert len(rows) == len(images) * len(texts) and len(images) == 20
    table = {(row.truth["image"], row.truth["text"]): row for row in rows}
    for k in (1, 5):
        found = 0
        for image in images:
            own = [table[image, text] for text in texts]
            best = max(row.prediction["probability"] for row in own if row.truth["label"])
            wrong = sum(row.prediction["probability"] >= best for row in own if not row.truth["label"])
            found += wrong < k
        assert abs(scores[f"image_to_text_top{k}"] - found / len(images)) < 1e-6
    assert {"text_to_image_top1", "text_to_image_top5", "accuracy"} <= set(scores)


def test_mistakes_are_one_line(load, tmp_path, capsys):
    tool = load("compare_models")
    assert tool.main(["none.py", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.strip().endswith("error: none.py: no such config file")
    config = write(tmp_path, "both", CONFIGS["TABLES"])
    assert tool.main([config, "--out", str(tmp_path / "out"), "--cfg-options", "iteration=3"]) == 2
    assert "--cfg-options iteration: the config has no 'iteration'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
