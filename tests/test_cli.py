"""What every tool shares: parser, errors, exit codes."""

import argparse
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cellseg.cli import (
    EXIT_DONE,
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    EXIT_PARTIAL,
    add_cache,
    add_cfg_options,
    add_device,
    add_members,
    add_unsafe_load,
    make_parser,
    run_command,
)
from cellseg.errors import CellsegError, InputError, MissingFileError

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture
def parser():
    parser = make_parser("Count cells.", "python tools/count.py image.png --least 3")
    parser.prog = "count.py"
    parser.add_argument("image")
    parser.add_argument("--least", type=int, default=0, help="smallest area")
    return parser


def test_help_ends_with_a_command_to_copy(parser, capsys):
    with pytest.raises(SystemExit) as ended:
        run_command(parser, lambda options: None, ["--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.endswith("example:\n  python tools/count.py image.png --least 3\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: image"),
        (["a.png", "--least", "x"], "argument --least: invalid int value: 'x'"),
        (["a.png", "--leas", "3"], "unrecognized arguments: --leas 3"),
    ],
)
def test_bad_command_lines_end_with_2(parser, capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        run_command(parser, lambda options: pytest.fail("ran"), arguments)
    assert ended.value.code == EXIT_ERROR
    assert capsys.readouterr().err.endswith(f"count.py: error: {message}\n")


@pytest.mark.parametrize(("returned", "code"), [(None, EXIT_DONE), (0, EXIT_DONE), (EXIT_PARTIAL, 1), (2, 2)])
def test_the_commands_value_is_the_exit_code(parser, returned, code):
    seen = []
    assert run_command(parser, lambda options: seen.append(options) or returned, ["a.png", "--least", "4"]) == code
    assert seen == [argparse.Namespace(image="a.png", least=4)]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (CellsegError("the loss is not finite"), "the loss is not finite"),
        (InputError("a.csv: row 3: bad"), "a.csv: row 3: bad"),
        (MissingFileError("a.csv: no such file"), "a.csv: no such file"),
        (OSError(errno.ENOSPC, "No space left on device", "out/a.png"), "out/a.png: No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "out"), "out: Permission denied"),
    ],
)
def test_expected_errors_are_one_line(parser, capsys, error, message):
    def command(options):
        raise error

    assert run_command(parser, command, ["a.png"]) == EXIT_ERROR == 2
    assert capsys.readouterr() == ("", f"count.py: error: {message}\n")


def test_mistakes_of_the_program_keep_their_traceback(parser):
    def command(options):
        raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        run_command(parser, command, ["a.png"])


def test_an_interrupt_is_no_traceback(parser, capsys):
    def command(options):
        raise KeyboardInterrupt

    assert run_command(parser, command, ["a.png"]) == EXIT_INTERRUPTED == 130
    assert capsys.readouterr() == ("", "count.py: interrupted\n")


def test_a_reader_that_goes_away_is_no_error():
    script = (
        "import sys; from cellseg.cli import make_parser, run_command;"
        "sys.exit(run_command(make_parser('x', 'y'), lambda o: [print(i) for i in range(100000)] and 0, []))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == 0


def test_options_that_several_tools_share(parser):
    for add in (add_cfg_options, add_members, add_device, add_cache, add_unsafe_load):
        add(parser)
    plain = parser.parse_args(["a.png"])
    assert (plain.cfg_options, plain.members, plain.device, plain.unsafe_load) == ([], None, None, False)
    assert plain.cache == "work_dirs/evidence"
    text = "a.png --cfg-options a=1 b.0=x --members m n --device cuda:1 --cache c --unsafe-load"
    given = parser.parse_args(text.split())
    assert (given.cfg_options, given.members, given.device) == (["a=1", "b.0=x"], ["m", "n"], "cuda:1")
    assert (given.cache, given.unsafe_load) == ("c", True)


def test_defaults_stand_in_the_help(parser):
    add_device(parser, "cuda where there is one")
    add_cache(parser, None)
    assert parser.parse_args(["a.png"]).cache is None
    text = " ".join(parser.format_help().split())
    assert "(default: cuda where there is one)" in text and "(default: none is kept)" in text


def test_a_missing_files_message_is_all_that_it_says():
    error = MissingFileError("a.csv: no such file; run tools/prepare_data.py")
    assert str(error) == "a.csv: no such file; run tools/prepare_data.py"
    assert isinstance(error, FileNotFoundError) and isinstance(error, ValueError) and isinstance(error, CellsegError)


@pytest.mark.parametrize("path", sorted((PROJECT / "tools").glob("*.py")), ids=lambda path: path.name)
def test_every_tool_has_help(path):
    done = subprocess.run([sys.executable, str(path), "--help"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout.startswith(f"usage: {path.name}")
