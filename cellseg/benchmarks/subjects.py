"""What is measured: a module of this package for each subject, with both sides and their inputs.

A module has four functions: ``make_inputs(scale)``, ``run_cellseg(inputs)``, ``run_alternative(inputs)``, and
``find_difference(ours, theirs)``, which says in words how the results of the two sides differ ('' where they are the
same). The alternatives are frozen: they are what people write, without obvious waste, and are not changed with cellseg.

Where the two sides do different work (``same_work`` is False), as when one is to cost little beside the other,
``find_difference`` says what is wrong with their results. A module may have ``measure_more(scale)`` for further values
of its row, and ``make_memory_inputs(scale)`` where the peak of its memory is reached with less to do.

Nothing is imported here, so that a command line is checked in no time.
"""

from dataclasses import dataclass

from cellseg.errors import InputError

# Sides of the boxes of cells, in pixels, both included.
SMALLEST_BOX, LARGEST_BOX = 12, 60


@dataclass(frozen=True)
class Scale:
    """How much there is to do.

    Attributes:
        instances: in the image.
        height: of the image.
        width: of the image.

    Raises:
        InputError: no instances, or an image that the largest box does not fit into.
    """

    instances: int = 400
    height: int = 520
    width: int = 704

    def __post_init__(self):
        if self.instances < 1:
            raise InputError(f"--instances {self.instances} should be 1 or more")
        if min(self.height, self.width) < LARGEST_BOX:
            raise InputError(
                f"--image-size {self.height} {self.width}: boxes are up to {LARGEST_BOX} pixels, "
                "so height and width should be at least that"
            )


@dataclass(frozen=True)
class Subject:
    """One row of the result.

    Attributes:
        name: of the row and of the module in this package.
        work: what both sides do.
        alternative: how the other side does it.
        repeats: how often each side is timed when the user does not say.
        same_work: whether both sides do the same work; else the time of one is given as a share of the other's.
        part: the part of the work that the alternative does, where doing all of it would take too long; its time is
            divided by this.
    """

    name: str
    work: str
    alternative: str
    repeats: int
    same_work: bool = True
    part: float = 1.0


# Of the evaluations of a tuning, the plain way does every tenth.
TUNING_PART = 0.1

SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject(
            "voting",
            "the vote of 3 members and the claim of contested pixels",
            "dense N x H x W tensors: paste, weighted mean, threshold, argmax",
            5,
        ),
        Subject(
            "rle",
            "run-length encoding and decoding of all masks of an image",
            "notebook code: np.where on changes of each dense mask, loop over pairs into a zero array",
            15,
        ),
        Subject(
            "competition_map",
            "competition mAP of one image from the texts of two submissions",
            "dense masks, pycocotools encode and iou, a loop over thresholds",
            9,
        ),
        Subject(
            "pipeline",
            "from evidence of 3 members to submission rows: vote, masks, scores, suppression, claims, cleaning, texts",
            "inference of the three small members (untrained) on the same image and for as many boxes",
            3,
            same_work=False,
        ),
        Subject(
            "scaling",
            "the same for 4 times as many cells in one image",
            "the same for as many cells in 16 images, as if the cost of an image were linear in its cells",
            5,
            same_work=False,
        ),
        Subject(
            "tuning",
            "scores of 300 settings on 40 images with 4 members and 120 cells each",
            "resolve and competition_map for every image and setting; every tenth setting is measured",
            1,
            part=TUNING_PART,
        ),
    )
}


def find_subjects(names: list[str]) -> list[Subject]:
    """The subjects of these names, each once; all of them where no name is given.

    Raises:
        InputError: an unknown name.
    """
    unknown = [name for name in names if name not in SUBJECTS]
    if unknown:
        raise InputError(f"unknown benchmark {unknown[0]!r}: choose from {', '.join(SUBJECTS)}")
    return [SUBJECTS[name] for name in dict.fromkeys(names or SUBJECTS)]
