"""The lines of a training, on screen and in train.log."""

import re

import pytest

from cellseg.training import log as log_module
from cellseg.training.curves import read_curves
from cellseg.training.log import TrainingLog


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes two seconds at each look."""
    times = iter(range(0, 10000, 2))
    monkeypatch.setattr(log_module.time, "monotonic", lambda: float(next(times)))


def test_an_interval_is_reported_by_its_mean(tmp_path, capsys, clock):
    log = TrainingLog(tmp_path, total=5, interval=2)
    for iteration in range(1, 6):
        log.step(iteration, {"loss": float(iteration), "loss_mask": 1.0}, 0.125)
    log.close()
    losses = [row for row in read_curves(tmp_path / "curves.csv") if row[2] == "loss"]
    assert losses == [(2, "train", "loss", 1.5), (4, "train", "loss", 3.5), (5, "train", "loss", 5.0)]
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "train 2/5  loss 1.5000 mask 1.0000  lr 1.25e-01  1.00 s/it  left 0:00:03",
        "train 4/5  loss 3.5000 mask 1.0000  lr 1.25e-01  1.00 s/it  left 0:00:01",
        "train 5/5  loss 5.0000 mask 1.0000  lr 1.25e-01  1.20 s/it  left 0:00:00",
    ]
    assert (tmp_path / "train.log").read_text().splitlines() == lines


def test_the_time_left_has_hours(tmp_path, capsys, clock):
    log = TrainingLog(tmp_path, total=10001, interval=1)
    log.step(1, {"loss": 1.0}, 0.1)
    log.close()
    assert capsys.readouterr().out.rstrip().endswith("2.00 s/it  left 5:33:20")


def test_scores_are_a_line_and_rows(tmp_path, capsys):
    log = TrainingLog(tmp_path, total=10)
    log.score(10, {"segm_ap": 0.25, "segm_ap50": 0.5})
    log.close()
    assert capsys.readouterr().out == "val   10/10  segm_ap 0.2500 segm_ap50 0.5000\n"
    assert read_curves(tmp_path / "curves.csv") == [(10, "val", "segm_ap", 0.25), (10, "val", "segm_ap50", 0.5)]


def test_a_resumed_log_goes_on_where_it_was(tmp_path, capsys, clock):
    for resume_from in (None, 4):
        log = TrainingLog(tmp_path, total=8, interval=2, resume_from=resume_from)
        for iteration in range((resume_from or 0) + 1, 9 if resume_from else 7):
            log.step(iteration, {"loss": 1.0}, 0.1)
        log.close()
    assert [row[0] for row in read_curves(tmp_path / "curves.csv") if row[2] == "loss"] == [2, 4, 6, 8]
    lines = (tmp_path / "train.log").read_text().splitlines()
    assert [re.match(r"train (\d+)/8", line)[1] for line in lines] == ["2", "4", "6", "6", "8"]
    # The pace counts the iterations since the resuming, not those before it.
    assert "1.00 s/it" in lines[3]


def test_a_fresh_log_replaces_the_old(tmp_path, capsys):
    for text in ("first", "second"):
        log = TrainingLog(tmp_path, total=1)
        log.say(text)
        log.close()
    assert (tmp_path / "train.log").read_text() == "second\n"
