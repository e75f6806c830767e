"""What every command in ``tools/`` shares: its parser, its errors and its exit codes."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from cellseg.errors import CellsegError
from cellseg.machine import keep_freed_memory

EXIT_DONE = 0
EXIT_PARTIAL = 1  # the run went through, but some inputs were skipped; they are listed
EXIT_ERROR = 2  # bad input or options: nothing half-written is left
EXIT_INTERRUPTED = 130


def make_parser(description: str, example: str) -> argparse.ArgumentParser:
    """Parser whose ``--help`` ends with a command to copy."""
    return argparse.ArgumentParser(
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``; ``cellseg.training.config.parse_options`` reads what it collects."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        metavar="KEY=VALUE",
        default=[],
        help="settings over those of the config; dots lead into them, as in members.0.work_dir=work_dirs/mine",
    )


def add_members(parser: argparse.ArgumentParser) -> None:
    """Add ``--members``: a list of names, or None."""
    parser.add_argument("--members", nargs="+", metavar="NAME", help="let only these members vote (default: all)")


def add_device(parser: argparse.ArgumentParser, default: str = "as in the config") -> None:
    """Add ``--device``: a text for torch, or None; ``default`` says in words what None means."""
    parser.add_argument("--device", help=f"cpu, cuda or cuda:N (default: {default})")


def add_cache(parser: argparse.ArgumentParser, default: str | None = "work_dirs/evidence") -> None:
    """Add ``--cache``: the folder of the members' answers; ``default`` None keeps none."""
    parser.add_argument(
        "--cache",
        metavar="DIR",
        default=default,
        help="folder where the answers of the members are kept for the next time; it can be deleted "
        f"(default: {default or 'none is kept'})",
    )


def add_unsafe_load(parser: argparse.ArgumentParser) -> None:
    """Add ``--unsafe-load`` for the checkpoints that a command reads; it says what it risks."""
    parser.add_argument(
        "--unsafe-load",
        action="store_true",
        help="load checkpoints that hold more than weights: they can run any code, so only files of an author whose "
        "programs you would run (default: such files are refused)",
    )


def run_command(
    parser: argparse.ArgumentParser,
    command: Callable[[argparse.Namespace], int | None],
    arguments: Sequence[str] | None = None,
) -> int:
    """Parse and run; print an expected error as one line on stderr.

    Args:
        parser: what ``make_parser`` returned, with its arguments added.
        command: does the work; its return value is the exit code (None means 0).
        arguments: the command line, ``sys.argv`` without it.

    Returns:
        The exit code, for ``sys.exit``.
    """
    options = parser.parse_args(arguments)
    keep_freed_memory()
    try:
        return command(options) or EXIT_DONE
    except CellsegError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader went away (for example `| head`): not an error of ours, and stdout is closed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except OSError as error:
        # A disk that is full, a folder that may not be written: the system's words and the file say it.
        print(f"{parser.prog}: error: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        return EXIT_ERROR
