"""One plane of a TIFF file: which page, channel and plane it is, whatever wrote the file."""

from pathlib import Path

import cv2
import numpy as np
import tifffile

from cellseg.errors import InputError

# tifffile's letters: S samples of one pixel (colours), C channels, I and Q pages of which nothing more is known.
_COLOUR_AXIS = "S"
_CHANNEL_AXES = ("C", "Q", "I")
_GREY_OR_RGB = ("MINISBLACK", "MINISWHITE", "RGB", "PALETTE")


def read_tiff(path: Path, channel: int | None, max_pixels: int) -> np.ndarray:
    """Read one plane of a TIFF file in its own depth.

    Args:
        path: the file.
        channel: which channel (or page, in a file that does not say what its pages are; or colour, in an
            RGB file), counted from 0. None reads the first, and of an RGB file all three colours.
        max_pixels: planes larger than this are refused before they are read.

    Returns:
        [H, W] or [H, W, 3] in the file's type; white-is-zero files are inverted, palettes become colours,
        alpha is dropped.

    Raises:
        InputError: not a readable TIFF, a plane too large, or no such channel.
    """
    try:
        with tifffile.TiffFile(path) as file:
            return _read_plane(file, path, channel, max_pixels)
    except InputError:
        raise
    except Exception as error:  # damaged TIFF files raise nearly anything in the parser
        raise InputError(f"{path}: cannot be read as a TIFF image ({type(error).__name__}: {error})") from error


def _read_plane(file: tifffile.TiffFile, path: Path, channel: int | None, max_pixels: int) -> np.ndarray:
    if not file.series:
        raise InputError(f"{path}: the TIFF file holds no image")
    series = file.series[0]
    axes, shape = series.axes, series.shape
    if "Y" not in axes or "X" not in axes:
        raise InputError(f"{path}: the TIFF file has dimensions {axes} {list(shape)}, no image plane among them")
    height, width = shape[axes.index("Y")], shape[axes.index("X")]
    if height * width > max_pixels:
        raise InputError(f"{path}: {width} x {height} pixels are too many; cut it into tiles")
    channel_axis = next((axis for axis in _CHANNEL_AXES if axis in axes), None)
    if channel_axis is not None:
        count = shape[axes.index(channel_axis)]
        _check_channel(path, channel, count)
        page_channel, colour = channel or 0, None
    else:
        page_channel, colour = 0, channel
    planes = [axis for axis in axes if axis not in ("Y", "X", _COLOUR_AXIS)]
    sizes = [shape[axes.index(axis)] for axis in planes]
    position = [page_channel if axis == channel_axis else 0 for axis in planes]
    page_number = int(np.ravel_multi_index(position, sizes)) if planes else 0
    plane = _page_pixels(file, series, page_number, path)
    return _colours(plane, colour, channel_axis is not None, path)


def _page_pixels(file: tifffile.TiffFile, series: tifffile.TiffPageSeries, number: int, path: Path) -> np.ndarray:
    """[H, W] or [H, W, S] of one page; where one page holds several planes, the wanted one."""
    planes_per_page = int(np.prod(series.shape)) // (len(series) * int(np.prod(_plane_shape(series))))
    page = series[number // planes_per_page]
    if page is None:
        raise InputError(f"{path}: page {number} of the TIFF file is missing")
    page = page.aspage()
    if page.photometric.name not in _GREY_OR_RGB:
        return _read_with_opencv(path, page.index)
    try:
        pixels = page.asarray()
    except ValueError as error:
        # tifffile decodes LZW and JPEG only with a further package; OpenCV brings these codecs.
        if "imagecodecs" not in str(error):
            raise
        return _read_with_opencv(path, page.index)
    if planes_per_page > 1:
        pixels = pixels.reshape(planes_per_page, *_plane_shape(series))[number % planes_per_page]
    if page.photometric.name == "PALETTE" and page.colormap is not None:
        return np.moveaxis(page.colormap[:, pixels], 0, -1)
    if "S" in page.axes and page.axes.index("S") == 0 and pixels.ndim == 3:
        pixels = np.moveaxis(pixels, 0, -1)
    if page.photometric.name == "MINISWHITE" and pixels.dtype.kind == "u":
        pixels = np.iinfo(pixels.dtype).max - pixels
    return pixels


def _plane_shape(series: tifffile.TiffPageSeries) -> list[int]:
    return [size for axis, size in zip(series.axes, series.shape, strict=True) if axis in ("Y", "X", _COLOUR_AXIS)]


def _colours(plane: np.ndarray, colour: int | None, chosen: bool, path: Path) -> np.ndarray:
    """Drop alpha, or keep one colour; ``chosen`` says that a channel axis was followed already."""
    if plane.ndim == 2:
        if not chosen:
            _check_channel(path, colour, 1)
        return plane
    count = plane.shape[2]
    if count in (3, 4):
        count, plane = 3, plane[:, :, :3]
        if colour is None:
            return plane
    # Two samples are grey and alpha; five and more are channels that no screen has colours for.
    if not chosen:
        _check_channel(path, colour, 1 if count == 2 else count)
    return plane[:, :, colour or 0]


def _check_channel(path: Path, channel: int | None, count: int) -> None:
    if channel is not None and not 0 <= channel < count:
        raise InputError(f"{path}: channel {channel} does not exist, the image has {count} (counted from 0)")


def _read_with_opencv(path: Path, page: int) -> np.ndarray:
    done, pages = cv2.imreadmulti(str(path), start=page, count=1, flags=cv2.IMREAD_UNCHANGED)
    if not done or not pages:
        raise InputError(f"{path}: cannot be read as a TIFF image (compression or colours not supported)")
    pixels = pages[0]
    if pixels.ndim == 3 and pixels.shape[2] >= 3:
        pixels = np.concatenate([pixels[:, :, 2::-1], pixels[:, :, 3:]], axis=2)
    return pixels
