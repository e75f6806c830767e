"""Plans of trainings, and what is trained again."""

import runpy
from pathlib import Path

import pytest

from cellseg.errors import InputError, MissingFileError
from cellseg.multimodal.comparison.predictions import groups_of, open_trained, predict_split
from cellseg.multimodal.comparison.trainings import check_runs, plan_runs, train_run

CONFIGS = runpy.run_path(str(Path(__file__).resolve().parents[1] / "training_configs.py"))
SHORT = {"iterations": 2, "train_cfg.val_interval": 2, "default_hooks.checkpoint.interval": 1}


@pytest.fixture
def config(tmp_path):
    return CONFIGS["write_training_config"](tmp_path, CONFIGS["TABLES"])


def test_every_config_with_every_seed(config, tmp_path):
    runs = plan_runs([config], [0, 3], tmp_path / "out", {"iterations": 5}, data_seed=7)
    assert [(run.name, run.seed) for run in runs] == [("tiny", 0), ("tiny", 3)]
    assert runs[1].work_dir == tmp_path / "out" / "runs" / "tiny" / "seed-3"
    assert runs[1].options == {"source.seed": 7, "iterations": 5, "seed": 3}
    assert plan_runs([config], [0], tmp_path, {"source.seed": 9})[0].options["source.seed"] == 9


@pytest.mark.parametrize(
    ("configs", "seeds", "options", "message"),
    [
        ([], [0], {}, "expected at least one config"),
        (["tiny.py"], [0, 0], {}, "--seeds: expected different whole numbers from 0 on, found [0, 0]"),
        (["tiny.py"], [-1], {}, "--seeds: expected different whole numbers from 0 on, found [-1]"),
        (["tiny.py"], [], {}, "--seeds: expected different whole numbers from 0 on, found []"),
        (
            ["tiny.py"],
            [0],
            {"seed": 1},
            "--cfg-options seed: give the seeds of the trainings with --seeds, that of data as source.seed",
        ),
        (["tiny.py", "none.py"], [0], {}, "none.py: no such config file"),
        (
            ["tiny.py", "../{name}/tiny.py"],
            [0],
            {},
            "../{name}/tiny.py: another config is called 'tiny' too; rename one, names are those of the rows",
        ),
    ],
)
def test_plans_that_cannot_be_made(config, tmp_path, monkeypatch, configs, seeds, options, message):
    monkeypatch.chdir(tmp_path)
    configs = [text.format(name=tmp_path.name) for text in configs]
    with pytest.raises(InputError) as error:
        plan_runs(configs, seeds, "out", options)
    assert str(error.value) == message.format(name=tmp_path.name)
    assert isinstance(error.value, MissingFileError) == ("no such" in message)


def test_what_is_trained_is_not_trained_again(config, tmp_path, monkeypatch):
    (run,) = plan_runs([config], [1], tmp_path / "out", SHORT)
    assert train_run(run) is True
    weights = run.work_dir / "best.pth"
    before = weights.stat().st_mtime_ns
    # Nothing is built any more: what a finished training took its first weights from may be gone.
    with monkeypatch.context() as patch:
        patch.setattr("cellseg.multimodal.training.model_of_data", lambda *_: pytest.fail("was built"))
        check_runs([run])
    assert train_run(run) is False and weights.stat().st_mtime_ns == before
    (changed,) = plan_runs([config], [1], tmp_path / "out", {**SHORT, "learning_rate": 0.5})
    with pytest.raises(InputError, match="seed-1: holds the training of another config, or with other options; choose"):
        check_runs([changed])
    # One that was stopped is continued; without any checkpoint it starts again.
    weights.unlink()
    assert train_run(run) is True and weights.is_file()
    for path in [*run.work_dir.glob("*.pth"), run.work_dir / "last_checkpoint"]:
        path.unlink()
    assert train_run(run) is True and weights.is_file()


def test_a_config_of_something_else_is_refused(tmp_path):
    path = Path(__file__).resolve().parents[3] / "configs" / "ensemble" / "small.py"
    with pytest.raises(InputError):
        check_runs(plan_runs([path], [0], tmp_path, {}))


def test_a_model_that_cannot_be_built_is_known_before_anything_is_trained(config, tmp_path):
    runs = plan_runs([config], [0], tmp_path / "out", {**SHORT, "model.fusion.layers": "two"})
    with pytest.raises(InputError, match=f"^{config.stem}: .*: the training cannot be built from it"):
        check_runs(runs)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("change", [{"model.type": "MultimodalModel"}, {"model": {"_delete_": True, "heads": {}}}])
def test_another_type_of_model_is_refused(config, tmp_path, change):
    with pytest.raises(InputError, match="tiny: model.type is .*; expected 'multimodal_model_of'"):
        check_runs(plan_runs([config], [0], tmp_path / "out", {**SHORT, **change}))


def test_a_split_without_samples_is_known_before_anything_is_trained(config, tmp_path):
    runs = plan_runs([config], [0], tmp_path / "out", {**SHORT, "source.fractions": (0.8, 0.2, 0.0)})
    with pytest.raises(InputError, match="'test'.*; or compare on another --split"):
        check_runs(runs)
    check_runs(runs, "val")
    assert not (tmp_path / "out").exists()


def test_predictions_of_a_split_with_their_groups(config, tmp_path):
    (run,) = plan_runs([config], [0], tmp_path / "out", SHORT)
    train_run(run)
    trained = open_trained(run.work_dir, device="cpu")
    found = predict_split(trained, "test", features=True, batch_size=7)
    rows = found.rows["classification"]
    assert [row.id for row in rows] == [record.id for record in trained.data.records("test")]
    assert all(row.group == row.id for row in rows) and set(found.features) == {row.id for row in rows}
    said = trained.predictor.predict(trained.data.records("test"))
    names = trained.predictor.description.class_names
    for row, answer in zip(rows, said, strict=True):
        assert row.prediction["probabilities"] == pytest.approx(
            list(answer["classification"]["probabilities"].values()), abs=1e-5
        )
        assert names[row.truth] == trained.data.records("test")[rows.index(row)].targets["classification"]
    config_file = run.work_dir / "config.py"
    config_file.write_text(config_file.read_text().replace("'noise': 0.2", "'noise': 0.6"))
    with pytest.raises(InputError, match="the data is not what the model was trained on .different: modalities"):
        open_trained(run.work_dir, device="cpu")


def test_groups_are_those_that_a_split_keeps_together(tmp_path):
    lines = ["text,label,group_id", "one,a,x", "two,b,y", "three,a,x", "four,b,z"]
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n")
    assert groups_of(dict(reader="table", data_root=str(tmp_path))) == {"0": "0", "1": "1", "2": "0", "3": "3"}
