"""The exceptions whose text is meant for the user of a command."""


class CellsegError(Exception):
    """An expected failure: its text names the file, row or option and says what to do about it.

    Commands print it as one line, without a traceback, and exit with 2.
    """


class InputError(CellsegError, ValueError):
    """A file, row, option or value given by the user cannot be used."""


class MissingFileError(InputError, FileNotFoundError):
    """A file or folder that the user named does not exist."""

    def __str__(self) -> str:
        # OSError.__str__ would format errno and strerror; the message is all there is here.
        return " ".join(str(argument) for argument in self.args)
