"""Images in: every common file form as 8-bit grey or RGB, and the list of files that a user meant."""

import glob
import threading
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from cellseg.errors import InputError, MissingFileError
from cellseg.io.tiff import read_tiff

TIFF_SUFFIXES = (".tif", ".tiff")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", *TIFF_SUFFIXES)
LIST_SUFFIXES = (".txt",)
MAX_PIXELS = 2**30  # a few bytes of header can claim any size; what is larger than this is refused unread
STRETCH_PERCENTILES = (0.1, 99.9)

_pillow_limit = threading.Lock()


def read_image(path: str | Path, channel: int | None = None, full_range: bool = False) -> np.ndarray:
    """Read a PNG, JPEG, BMP or TIFF file as 8-bit grey or RGB.

    Pixels are taken as stored: an orientation tag is not applied, because annotations count stored pixels.

    *Channels.* Grey stays grey, RGB stays RGB, a palette becomes RGB, and alpha is dropped. Of a TIFF with
    separate channels or pages the first is read, of its other dimensions (depth, time, pyramid) the first
    plane; ``channel`` picks another channel, counted from 0, or one colour of an RGB image.

    *Depth.* 8-bit values are kept as they are. Everything deeper (16 or 32 bit, float) is mapped linearly,
    the 0.1th percentile of the plane to 0 and the 99.9th to 255, so that 12-bit data in a 16-bit file is
    not black; colours share one mapping. With ``full_range`` the range of the type is mapped instead
    (integers from 0 to their largest value, float from 0 to 1), so that brightness stays comparable between
    images. A plane of one single value becomes 0 where it is stretched.

    Args:
        path: the file; its suffix is one of ``IMAGE_SUFFIXES`` in any case.
        channel: the channel to read alone; None for the rule above.
        full_range: map the type's range instead of the percentiles.

    Returns:
        uint8 array, [H, W] or [H, W, 3] in RGB order.

    Raises:
        MissingFileError: there is no such file.
        InputError: it cannot be read as an image; the text names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such image file")
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(f"{path}: not an image file that can be read (expected {', '.join(IMAGE_SUFFIXES)})")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    if path.suffix.lower() in TIFF_SUFFIXES:
        image = read_tiff(path, channel, MAX_PIXELS)
    else:
        image = _pick_colour(_read_with_pillow(path), channel, path)
    return _to_uint8(image, full_range, path)


def to_rgb(image: np.ndarray) -> np.ndarray:
    """The same image with three channels.

    Args:
        image: uint8 array [H, W], [H, W, 1] or [H, W, 3].

    Returns:
        uint8 array [H, W, 3]; the argument itself when it has three channels already.
    """
    if image.dtype != np.uint8:
        raise InputError(f"expected an 8-bit image, found {image.dtype}")
    if image.ndim == 3 and image.shape[2] == 3:
        return image
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim != 2:
        raise InputError(f"expected an image [H, W] or [H, W, 3], found shape {list(image.shape)}")
    return np.repeat(image[:, :, None], 3, axis=2)


def list_inputs(text: str | Path, skipped: list[tuple[Path, str]] | None = None) -> list[tuple[str, Path]]:
    """The images that an INPUT on a command line means.

    Args:
        text: an image, a folder (its images, not those of folders inside), a glob (``**`` goes into folders),
            or a text file with one path a line, relative to that file; ``#`` starts a comment line.
        skipped: receives (path, reason) of every file that was passed over because it is no image.

    Returns:
        (id, path) sorted by id; the id is the file name without its suffix. A path from a text file need
        not exist: reading it reports that, like any other bad image.

    Raises:
        MissingFileError: nothing is there.
        InputError: no image was found, a named file is of another kind, or two images have the same id.
    """
    skipped = [] if skipped is None else skipped
    kept = []
    for path in _candidates(str(text)):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            kept.append((path.stem, path))
        else:
            skipped.append((path, f"not an image ({path.suffix or 'no suffix'})"))
    if not kept:
        raise InputError(f"{text}: no images here (expected {', '.join(IMAGE_SUFFIXES)})")
    kept.sort(key=lambda item: (item[0], str(item[1])))
    for (name, path), (next_name, next_path) in zip(kept, kept[1:], strict=False):
        if name == next_name:
            raise InputError(f"{text}: two images have the id {name!r}: {path} and {next_path}; rename one")
    return kept


def _candidates(text: str) -> list[Path]:
    path = Path(text)
    if path.is_dir():
        return [entry for entry in path.iterdir() if entry.is_file() and not entry.name.startswith(".")]
    if path.is_file():
        suffix = path.suffix.lower()
        if suffix in LIST_SUFFIXES:
            return _listed_paths(path)
        if suffix not in IMAGE_SUFFIXES:
            raise InputError(
                f"{path}: expected an image ({', '.join(IMAGE_SUFFIXES)}), a folder, a glob or a .txt file of paths"
            )
        return [path]
    # A name that exists is taken literally above, so that "well[1].png" works.
    if glob.has_magic(text):
        found = [Path(name) for name in glob.glob(text, recursive=True)]
        if not found:
            raise MissingFileError(f"{text}: no file matches this pattern")
        return [path for path in found if path.is_file()]
    raise MissingFileError(f"{text}: no such file or folder")


def _listed_paths(path: Path) -> list[Path]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file in UTF-8 ({error.reason} at byte {error.start})") from error
    names = [line.strip() for line in lines]
    return [path.parent / name for name in names if name and not name.startswith("#")]


def _read_with_pillow(path: Path) -> np.ndarray:
    """Pixels of a PNG, JPEG or BMP in their own depth, alpha dropped."""
    try:
        with _open_with_pillow(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(f"{path}: {image.width} x {image.height} pixels are too many; cut it into tiles")
            image.load()  # a truncated file is an error here, where OpenCV would return what it got
            if image.format == "PNG" and image.mode in ("RGB", "RGBA", "LA") and _png_depth(path) == 16:
                return _read_deep_png(path)
            return _pillow_array(image)
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        reason = "unknown content" if isinstance(error, UnidentifiedImageError) else str(error)
        raise InputError(f"{path}: cannot be read as an image ({reason})") from error


def _open_with_pillow(path: Path) -> Image.Image:
    # Pillow's own limit is a warning at 89 million pixels, which slide scans pass; MAX_PIXELS stands in for it.
    with _pillow_limit:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _png_depth(path: Path) -> int:
    with open(path, "rb") as file:
        return file.read(25)[24]  # signature (8), chunk length and name (8), width and height (8), depth


def _read_deep_png(path: Path) -> np.ndarray:
    # Pillow cuts 16-bit colour to 8 bit; OpenCV keeps it.
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise InputError(f"{path}: cannot be read as an image (damaged PNG)")
    return pixels[:, :, 2::-1] if pixels.ndim == 3 else pixels


def _pillow_array(image: Image.Image) -> np.ndarray:
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode == "LA":
        image = image.getchannel("L")
    elif image.mode not in ("L", "I", "I;16", "I;16B", "F", "RGB"):
        image = image.convert("RGB")  # palettes, alpha, CMYK, YCbCr
    pixels = np.asarray(image)
    # Pillow holds 16-bit grey as int32 in some versions; nothing else in these formats is that deep.
    return pixels.astype(np.uint16) if image.mode == "I" else pixels


def _pick_colour(image: np.ndarray, channel: int | None, path: Path) -> np.ndarray:
    if channel is None:
        return image
    planes = image[:, :, None] if image.ndim == 2 else image
    if not 0 <= channel < planes.shape[2]:
        raise InputError(f"{path}: channel {channel} does not exist, the image has {planes.shape[2]} (counted from 0)")
    return planes[:, :, channel]


def _to_uint8(image: np.ndarray, full_range: bool, path: Path) -> np.ndarray:
    if image.size == 0 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise InputError(f"{path}: expected a grey or RGB image, found an array of shape {list(image.shape)}")
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    if image.dtype == bool:
        return image.astype(np.uint8) * 255
    if image.dtype.kind not in "uif":
        raise InputError(f"{path}: pixels of type {image.dtype} are no brightness values")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise InputError(f"{path}: holds pixels that are not finite (NaN or infinite)")
    if full_range:
        low, high = 0.0, 1.0 if image.dtype.kind == "f" else float(np.iinfo(image.dtype).max)
    else:
        low, high = (float(value) for value in np.percentile(image, STRETCH_PERCENTILES))
        if high <= low:  # nearly all pixels are equal: what differs must still show
            low, high = float(image.min()), float(image.max())
    if high <= low:
        return np.zeros(image.shape, np.uint8)
    scaled = (image.astype(np.float64) - low) * (255.0 / (high - low))
    return np.rint(scaled.clip(0.0, 255.0)).astype(np.uint8)
