"""What every command in ``tools/`` shares: its parser, its errors and its exit codes."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from cellseg.errors import CellsegError

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


def add_unsafe_load(parser: argparse.ArgumentParser) -> None:
    """Add ``--unsafe-load`` for the checkpoints of members; it says what it risks."""
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
