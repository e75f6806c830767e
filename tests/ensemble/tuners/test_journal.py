"""Journals: a search that was stopped asks only for what is missing, and ends as if it had not been stopped."""

import json
import math

import numpy as np
import pytest

from cellseg.ensemble.tuners import TUNERS, minimize
from cellseg.ensemble.tuners.journal import Diverged, Journal
from cellseg.errors import InputError

LOWER, UPPER = [-1.0, 0.0, 2.0], [1.0, 5.0, 2.0]
INITIAL = [[0.1, 1 / 3, 2.0], [-0.7, 4.9, 2.0]]
SEARCHES = sorted(set(TUNERS) - {"uniform"})


def bowl(x):
    return float(((x - np.array([0.3, 1.0, 2.0])) ** 2).sum()) / 3


class Stopped(Exception):
    pass


class Counted:
    """An objective that counts its calls and is stopped after some of them."""

    def __init__(self, function=bowl, stop_after=math.inf):
        self.function, self.stop_after, self.points = function, stop_after, []

    def __call__(self, x):
        if len(self.points) == self.stop_after:
            raise Stopped
        self.points.append(x.tolist())
        return self.function(x)


def search(objective, tuner, journal, **changes):
    arguments = {"budget": 60, "seed": 5, "initial": INITIAL, "journal": journal, "journal_key": "a", **changes}
    return minimize(objective, LOWER, UPPER, tuner, **arguments)


def same(first, second):
    assert first.x.tolist() == second.x.tolist() and first.value == second.value
    assert first.evaluations == second.evaluations and first.tuner == second.tuner


@pytest.mark.parametrize("tuner", sorted(TUNERS))
@pytest.mark.parametrize("stop_after", [0, 1, 2, 17, 59])
def test_a_stopped_search_goes_on_where_it_stopped(tmp_path, capsys, tuner, stop_after):
    path, whole = tmp_path / "new" / "journal", Counted()
    expected = minimize(whole, LOWER, UPPER, tuner, 60, 5, INITIAL)
    stop_after = min(stop_after, expected.evaluations - 1)
    with pytest.raises(Stopped):
        search(Counted(stop_after=stop_after), tuner, path)
    rest = Counted()
    result = search(rest, tuner, path)
    same(result, expected)
    assert rest.points == whole.points[stop_after:] and result.replayed == stop_after
    # All of it is known now.
    silent = Counted(stop_after=0)
    same(search(silent, tuner, path), expected)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("tuner", SEARCHES)
def test_stopped_after_every_evaluation(tmp_path, tuner):
    path, expected, runs = tmp_path / "journal", minimize(bowl, LOWER, UPPER, tuner, 24, 5, INITIAL), 0
    while True:
        try:
            result = search(Counted(stop_after=1), tuner, path, budget=24)
            break
        except Stopped:
            runs += 1
    same(result, expected)
    assert runs == 23


def test_a_search_without_a_journal_replays_nothing(tmp_path):
    assert minimize(bowl, LOWER, UPPER, "random", 10).replayed == 0
    assert search(bowl, "random", tmp_path / "journal").replayed == 0
    assert search(bowl, "random", tmp_path / "journal").replayed == 60


def test_numbers_come_back_exactly(tmp_path):
    path = tmp_path / "journal"
    numbers = [0.1, 1 / 3, math.pi * 1e-300, 5e-324, -0.0, 1e308, float(np.nextafter(1.0, 2.0)), 2.0]
    values = [*numbers[:-1], math.inf]
    journal = Journal(path, {})
    for value in values:
        journal.record(np.array(numbers), value)
    again = Journal(path, {})
    found = [again.replay(np.array(numbers)) for _ in values]
    assert [value.hex() for value in found] == [value.hex() for value in values]
    assert again.replay(np.array(numbers)) is None and again.replayed == len(values)


def test_infinite_values_are_kept(tmp_path):
    def cliff(x):
        return math.inf if x[0] < 0.5 else x[0]

    path = tmp_path / "journal"
    first = search(cliff, "random", path)
    same(search(Counted(stop_after=0), "random", path), first)


def test_every_evaluation_is_on_disk_when_the_next_is_asked(tmp_path):
    path, lines = tmp_path / "journal", []

    def objective(x):
        lines.append(path.read_text().count("\n"))
        return bowl(x)

    search(objective, "random", path, budget=8)
    assert lines == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("tuner", SEARCHES)
@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_torn_last_line_is_left_out(tmp_path, capsys, tuner, cut):
    path, expected = tmp_path / "journal", minimize(bowl, LOWER, UPPER, tuner, 60, 5, INITIAL)
    with pytest.raises(Stopped):
        search(Counted(stop_after=20), tuner, path)
    path.write_bytes(path.read_bytes()[:-cut])
    rest = Counted()
    same(search(rest, tuner, path), expected)
    assert len(rest.points) == 41
    same(search(Counted(stop_after=0), tuner, path), expected)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "changes, reason",
    [
        (dict(journal_key="b"), "it is of a search with other key"),
        (dict(seed=6), "it is of a search with other seed"),
        (dict(budget=61), "it is of a search with other budget"),
        (dict(initial=INITIAL[:1]), "it is of a search with other initial"),
        (dict(tuner="random"), "it is of a search with other options, tuner"),
        (dict(population=7), "it is of a search with other options"),
    ],
)
def test_journals_of_other_searches_are_discarded(tmp_path, capsys, changes, reason):
    path = tmp_path / "journal"
    search(bowl, "aquila", path, population=6)
    arguments = {"tuner": "aquila", **({} if "tuner" in changes else {"population": 6}), **changes}
    asked = Counted()
    result = search(asked, journal=path, **arguments)
    assert capsys.readouterr().err == f"note: {path}: the journal is discarded, {reason}; the search starts anew\n"
    assert len(asked.points) == result.evaluations and result.replayed == 0
    same(search(Counted(stop_after=0), journal=path, **arguments), result)


@pytest.mark.parametrize("tuner", SEARCHES)
def test_a_journal_that_takes_another_course_is_discarded(tmp_path, capsys, tuner):
    path, expected = tmp_path / "journal", minimize(bowl, LOWER, UPPER, tuner, 60, 5, INITIAL)
    search(bowl, tuner, path)
    lines = path.read_text().split("\n")
    lines[11], lines[12] = lines[12], lines[11]
    path.write_text("\n".join(lines))
    asked = Counted()
    same(search(asked, tuner, path), expected)
    assert len(asked.points) == 60
    assert "the journal is discarded, its evaluation 11 is of another point" in capsys.readouterr().err
    same(search(Counted(stop_after=0), tuner, path), expected)


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: lines[:5] + ["0x1.8p+0 what 0x1p+0"] + lines[5:],
        lambda lines: lines[:5] + [""] + lines[5:],
        lambda lines: lines[:5] + ["nan 0x0p+0 0x0p+0 0x0p+0"] + lines[5:],
        lambda lines: lines[:5] + ["0x1p+0"] + lines[5:],
        lambda lines: lines[:5] + ["\u00e4 0x0p+0"] + lines[5:],
        lambda lines: ["{" + lines[0]] + lines[1:],
        lambda lines: ["[1, 2]"] + lines[1:],
        lambda lines: lines[:1],
        lambda lines: [""],
    ],
)
def test_damaged_journals_are_discarded(tmp_path, capsys, damage):
    path, expected = tmp_path / "journal", minimize(bowl, LOWER, UPPER, "random", 60, 5, INITIAL)
    search(bowl, "random", path)
    path.write_text("\n".join(damage(path.read_text().split("\n"))), encoding="utf-8")
    asked = Counted()
    same(search(asked, "random", path), expected)
    assert len(asked.points) == 60
    assert "the journal is discarded, it is damaged; the search starts anew" in capsys.readouterr().err


def test_an_objective_that_is_nan_leaves_no_line(tmp_path):
    path = tmp_path / "journal"
    with pytest.raises(InputError, match="the objective is NaN"):
        search(lambda x: math.nan, "random", path)
    assert path.read_text().count("\n") == 1


def test_the_form_of_the_file(tmp_path):
    path = tmp_path / "journal"
    journal = Journal(path, {"key": "k"})
    journal.record(np.array([0.5, -2.0]), 0.75)
    header, line, end = path.read_text().split("\n")
    assert json.loads(header) == {"format": 1, "key": "k"} and end == ""
    assert line == "0x1.8000000000000p-1 0x1.0000000000000p-1 -0x1.0000000000000p+1"


def test_another_point_diverges(tmp_path):
    path = tmp_path / "journal"
    Journal(path, {}).record(np.array([0.5]), 1.0)
    again = Journal(path, {})
    with pytest.raises(Diverged):
        again.replay(np.array([0.25]))
    assert path.read_text().count("\n") == 1 and Journal(path, {}).replay(np.array([0.5])) is None


def test_a_folder_is_no_journal(tmp_path):
    with pytest.raises(InputError) as caught:
        search(bowl, "random", tmp_path)
    assert str(caught.value) == f"{tmp_path}: is a folder; the journal needs the path of a file"
