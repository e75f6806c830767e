"""tools/benchmark.py as a user calls it."""

import json
import subprocess
import sys

import pytest

SMALL = ("--instances", "12", "--image-size", "80", "96", "--repeats", "1")


@pytest.fixture
def run(project_root, tmp_path):
    """Call the tool in an empty folder."""
    tool = project_root / "tools" / "benchmark.py"

    def call(*arguments):
        command = [sys.executable, str(tool), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1200)

    return call


def test_rows(run, tmp_path):
    done = run("rle", "--json", "out/rows.json", *SMALL)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "12 instances, image of 80 x 96 (height x width), one thread"

    [row] = json.loads((tmp_path / "out" / "rows.json").read_text())
    assert {"name", "alternative", "time_ratio", "memory_ratio", "milliseconds", "peak_mib", "more"} <= set(row)
    assert row["name"] == "rle" and row["alternative"].startswith("notebook code")
    assert row["time_ratio"] > 0 and row["memory_ratio"] > 0
    columns = next(line for line in done.stdout.splitlines() if line.startswith("rle ")).split()
    assert columns[-2:] == [f"{row['time_ratio']:.1f}x", f"{row['memory_ratio']:.1f}x"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["speed"], "unknown benchmark 'speed': choose from voting, rle, competition_map, pipeline, scaling, tuning"),
        (["rle", "--instances", "0"], "--instances 0 should be 1 or more"),
        (["rle", "--repeats", "0"], "--repeats 0 should be 1 or more"),
        (
            ["--image-size", "59", "704"],
            "--image-size 59 704: boxes are up to 60 pixels, so height and width should be at least that",
        ),
    ],
)
def test_bad_input(run, tmp_path, arguments, message):
    done = run(*arguments, "--json", "rows.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"benchmark.py: error: {message}\n"
    assert not list(tmp_path.iterdir())


def test_help_has_an_example(run):
    done = run("--help")
    assert done.returncode == 0
    assert "voting, rle, competition_map" in done.stdout
    assert done.stdout.endswith("example:\n  python tools/benchmark.py voting rle --json out/benchmarks.json\n")


@pytest.mark.slow
def test_full_scale(run, tmp_path):
    done = run("voting", "rle", "competition_map", "--json", "rows.json", "--repeats", "3")
    assert (done.returncode, done.stderr) == (0, "")
    rows = {row["name"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    assert list(rows) == ["voting", "rle", "competition_map"]
    # Half of what docs/benchmarks.md promises: tests run beside each other, and on any machine.
    assert rows["voting"]["time_ratio"] > 50
    assert rows["voting"]["memory_ratio"] > 20
    assert rows["rle"]["time_ratio"] > 2.5
    assert rows["competition_map"]["time_ratio"] > 1.5


@pytest.mark.slow
def test_what_the_ensemble_costs_beside_its_members(run, tmp_path):
    done = run("pipeline", "scaling", "--json", "rows.json", "--repeats", "3")
    assert (done.returncode, done.stderr) == (0, "")
    rows = {row["name"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    # Processor time and memory, with room for other machines: the aims are 20 times, 64 MiB and an exponent of 1.
    assert rows["pipeline"]["time_ratio"] > 12 and rows["pipeline"]["peak_mib"] < 64
    assert rows["scaling"]["more"]["exponent"] < 1.3
