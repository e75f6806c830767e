"""How a code, a few numbers between -1 and 1, shows in each kind of synthetic modality."""

import numpy as np

# Levels that words tell apart; the middle of each is where it is spoken of.
LEVEL_WORDS = ("darkest", "dark", "dim", "middling", "light", "bright", "brightest")
PLACE_WORDS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
OPENINGS = ("here", "now", "today", "again", "look")
LARGEST_CODE = len(PLACE_WORDS)
SIDE = 32  # pixels of an image
VOLUME_SIDE = 8
SHORTEST, LONGEST = 16, 24  # steps of a sequence
NOISE_FEATURES = 2  # of a tabular modality, beside those of the code


def draw_image(code: np.ndarray, noise: float, random: np.random.Generator) -> np.ndarray:
    """Float32 ``[3, 32, 32]``: cells of a grid, each as bright as its number; in every colour the same, with noise."""
    rows = int(np.ceil(np.sqrt(len(code))))
    grid = _grid(code, (rows, rows))
    edges = np.arange(SIDE) * rows // SIDE
    plane = grid[np.ix_(edges, edges)]
    return (plane + noise * random.standard_normal((3, SIDE, SIDE))).astype(np.float32)


def draw_volume(code: np.ndarray, noise: float, random: np.random.Generator) -> np.ndarray:
    """Float32 ``[1, 8, 8, 8]``: slabs along the depth, each as bright as its number, with noise."""
    depth = np.arange(VOLUME_SIDE) * len(code) // VOLUME_SIDE
    slabs = np.asarray(code)[depth][None, :, None, None]
    shape = (1, VOLUME_SIDE, VOLUME_SIDE, VOLUME_SIDE)
    return (slabs + noise * random.standard_normal(shape)).astype(np.float32)


def draw_sequence(code: np.ndarray, noise: float, random: np.random.Generator) -> np.ndarray:
    """Float32 ``[T, C]``, 16 to 24 steps: each number a channel that swings around it, with noise."""
    steps = int(random.integers(SHORTEST, LONGEST + 1))
    swing = 1 + 0.5 * np.sin(2 * np.pi * (np.arange(steps) / 8 + random.random()))
    signal = swing[:, None] * np.asarray(code)[None, :]
    return (signal + noise * random.standard_normal(signal.shape)).astype(np.float32)


def draw_tabular(code: np.ndarray, noise: float, random: np.random.Generator) -> np.ndarray:
    """Float32 ``[F]``: the numbers with noise, then two numbers that mean nothing."""
    shown = np.asarray(code) + noise * random.standard_normal(len(code))
    return np.concatenate([shown, random.standard_normal(NOISE_FEATURES)]).astype(np.float32)


def write_text(code: np.ndarray, noise: float, random: np.random.Generator) -> str:
    """A sentence that says each number as one of seven levels; noise does not reach it."""
    said = [f"the {PLACE_WORDS[place]} is {LEVEL_WORDS[level]}" for place, level in enumerate(_levels(code))]
    return f"{OPENINGS[int(random.integers(len(OPENINGS)))]} {' and '.join(said)}"


def feature_names(code_length: int) -> tuple[str, ...]:
    """Names of the features that ``draw_tabular`` gives."""
    return (*PLACE_WORDS[:code_length], *(f"noise {index + 1}" for index in range(NOISE_FEATURES)))


DRAW = {
    "image": draw_image,
    "volume": draw_volume,
    "sequence": draw_sequence,
    "text": write_text,
    "tabular": draw_tabular,
}


def _grid(code: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    cells = np.zeros(shape[0] * shape[1])
    cells[: len(code)] = code
    return cells.reshape(shape)


def _levels(code: np.ndarray) -> list[int]:
    count = len(LEVEL_WORDS)
    return [int(level) for level in np.clip((np.asarray(code) + 1) / 2 * count, 0, count - 1).astype(int)]
