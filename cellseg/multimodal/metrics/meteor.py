"""METEOR (Denkowski and Lavie 2014), by its own Java program; nothing else may carry the name."""

import shutil
from collections.abc import Sequence

from cellseg.errors import CellsegError


def meteor(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """METEOR 1.5 of a set of captions, as the package pycocoevalcap runs it.

    Args:
        hypotheses: a caption for each picture.
        references: the true captions of each picture, at least one.

    Raises:
        CellsegError: the package or Java is not there.
    """
    try:
        from pycocoevalcap.meteor.meteor import Meteor
    except ImportError as error:
        raise CellsegError("METEOR needs the package pycocoevalcap: pip install pycocoevalcap") from error
    if shutil.which("java") is None:
        raise CellsegError("METEOR is a Java program, and there is no java on this machine; install a Java runtime")
    program = Meteor()
    try:
        score, _ = program.compute_score(
            {index: list(row) for index, row in enumerate(references)},
            {index: [text] for index, text in enumerate(hypotheses)},
        )
    finally:
        # Its own clean-up waits for the garbage collector.
        program.meteor_p.stdin.close()
        program.meteor_p.kill()
        program.meteor_p.wait()
    return float(score)
