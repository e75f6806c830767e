"""curves.csv and its TensorBoard twin, over interruptions too."""

import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cellseg.errors import InputError
from cellseg.training.curves import CurveLog, read_curves


def write(folder: Path, resume_from, *entries) -> None:
    log = CurveLog(folder, resume_from)
    for entry in entries:
        log.write(*entry)
    log.close()


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


@pytest.fixture
def folder(tmp_path):
    """Curves of a training that was killed after iteration 40."""
    losses = [(step, "train", {"loss": 1 / step, "lr": 0.1}) for step in (10, 20, 30, 40)]
    write(tmp_path, None, *losses[:2], (20, "val", {"ap": 0.5}), *losses[2:], (40, "val", {"ap": 0.75}))
    return tmp_path


def test_the_file_is_a_plain_table(tmp_path):
    write(tmp_path, None, (1, "train", {"loss": 0.1, "lr": 1e-5}), (1, "val", {"ap": 1}))
    assert (tmp_path / "curves.csv").read_bytes() == (
        b"iteration,phase,name,value\n1,train,loss,0.1\n1,train,lr,1e-05\n1,val,ap,1.0\n"
    )


def test_values_come_back_exactly_and_stand_in_tensorboard(folder):
    rows = read_curves(folder / "curves.csv")
    assert [row for row in rows if row[2] == "loss"] == [(step, "train", "loss", 1 / step) for step in (10, 20, 30, 40)]
    assert scalars(folder, "train/loss") == [(step, pytest.approx(1 / step)) for step in (10, 20, 30, 40)]
    assert scalars(folder, "val/ap") == [(20, 0.5), (40, 0.75)]


def test_values_that_are_not_finite_are_kept_in_the_table_alone(tmp_path):
    write(
        tmp_path, None, (1, "train", {"loss": math.nan}), (2, "train", {"loss": math.inf}), (3, "train", {"loss": 1.0})
    )
    values = [row[3] for row in read_curves(tmp_path / "curves.csv")]
    assert math.isnan(values[0]) and values[1:] == [math.inf, 1.0]
    assert scalars(tmp_path, "train/loss") == [(3, 1.0)]


def test_a_fresh_start_forgets_the_old_rows(folder):
    write(folder, None, (5, "train", {"loss": 9.0}))
    assert read_curves(folder / "curves.csv") == [(5, "train", "loss", 9.0)]


def test_a_resumed_training_drops_what_came_after_its_checkpoint(folder):
    write(folder, 20, (30, "train", {"loss": 3.0}))
    rows = [row for row in read_curves(folder / "curves.csv") if row[2] != "lr"]
    assert rows == [
        (10, "train", "loss", 0.1),
        (20, "train", "loss", 0.05),
        (20, "val", "ap", 0.5),
        (30, "train", "loss", 3.0),
    ]
    assert scalars(folder, "train/loss") == [(10, pytest.approx(0.1)), (20, pytest.approx(0.05)), (30, 3.0)]


def test_a_validation_that_is_repeated_stands_once(folder):
    write(folder, 20, (20, "val", {"ap": 0.5, "ap50": 0.6}), (30, "train", {"loss": 3.0}))
    rows = [row for row in read_curves(folder / "curves.csv") if row[1] == "val"]
    assert rows == [(20, "val", "ap", 0.5), (20, "val", "ap50", 0.6)]
    assert [row[0] for row in read_curves(folder / "curves.csv") if row[2] == "loss"] == [10, 20, 30]


@pytest.mark.parametrize(
    "torn", ["50,train,loss,0.02", "50,train,loss,0.", "50,train,loss,", "50,tr", "5", "50,train,loss,1e-"]
)
def test_a_torn_last_row_is_left_out(folder, torn):
    path = folder / "curves.csv"
    complete = read_curves(path)
    path.write_text(path.read_text() + torn)
    assert read_curves(path) == complete
    write(folder, 50, (60, "train", {"loss": 6.0}))
    assert read_curves(path) == [*complete, (60, "train", "loss", 6.0)]


def test_a_file_that_is_not_there_has_no_rows(tmp_path):
    assert read_curves(tmp_path / "curves.csv") == []


@pytest.mark.parametrize("row", ["x,train,loss,1.0", "1,train,loss,", "1,train,loss", "1,train,loss,1,2"])
def test_a_damaged_row_is_named(folder, row):
    path = folder / "curves.csv"
    path.write_text(f"iteration,phase,name,value\n1,train,loss,1.0\n{row}\n")
    with pytest.raises(InputError) as error:
        read_curves(path)
    assert str(error.value) == f"{path}: line 3: expected iteration,phase,name,value, found {row!r}"
