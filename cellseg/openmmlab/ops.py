"""mmcv's compiled ops, served by torchvision's kernels where mmcv has none.

mmcv 2.1.0 cannot be compiled against current PyTorch, and ``mmcv-lite`` lacks the module ``mmcv._ext``, without
which neither mmdet nor mmseg imports. ``install_ops`` puts a module of that name in place. It computes NMS and
RoIAlign, forward and backward, on CPU and CUDA; any other op of mmcv is a function that says so when it is called.
"""

import functools
import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn

import torch
from torch import Tensor

from cellseg.errors import CellsegError

EXTENSION = "mmcv._ext"
OLDEST_MMCV = (2, 0, 0)
FIRST_UNFIT_MMCV = (2, 2, 0)
_REMEDY = (
    "configure the network without it, or use a PyTorch that mmcv compiles against (pip install mmcv==2.1.0); "
    "compiled ops are used wherever they are installed"
)


class UnsupportedOpError(CellsegError, RuntimeError):
    """An op of mmcv, or a mode of one, that torchvision's kernels do not offer was called."""


class IncompatibleInstallError(CellsegError, ImportError):
    """The installed OpenMMLab packages do not work together, or not with the installed PyTorch."""


def install_ops() -> ModuleType:
    """Make ``mmcv._ext`` importable, and return it.

    A compiled ``mmcv._ext`` is used as it is. Calling this again changes nothing.

    Raises:
        IncompatibleInstallError: mmcv is missing, has a version that mmdet and mmseg refuse, or has compiled ops
            that cannot be loaded (they were built for another PyTorch).
    """
    loaded = sys.modules.get(EXTENSION)
    if loaded is not None:
        return loaded
    _check_mmcv(_import_mmcv())
    try:
        return importlib.import_module(EXTENSION)
    except ModuleNotFoundError as error:
        if error.name != EXTENSION:
            raise
    except ImportError as error:
        raise IncompatibleInstallError(
            f"mmcv's compiled ops do not load beside torch {torch.__version__} ({error}); rebuild mmcv for it, or "
            "use torchvision's kernels instead: pip uninstall mmcv && pip install mmcv-lite==2.1.0"
        ) from error
    # The import system runs our loader, so that the module gets a real __spec__, by which mmengine and mmcv
    # find out whether the ops are there (pkgutil.find_loader).
    sys.meta_path.append(_Finder())
    return importlib.import_module(EXTENSION)


def serves_torchvision() -> bool:
    """Whether mmcv's ops are torchvision's kernels in this process (False: compiled by mmcv, or not installed)."""
    return isinstance(sys.modules.get(EXTENSION), _Extension)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Greedy non-maximum suppression.

    Args:
        boxes: float [N, 4], x0 y0 x1 y1.
        scores: float [N].
        iou_threshold: a box goes when its IoU with a kept one is greater.
        offset: 0; mmcv's 1 (widths are x1 - x0 + 1) is not offered.

    Returns:
        int64 [K], the kept boxes by falling score, equal scores by rising index.

    Raises:
        UnsupportedOpError: ``offset`` is 1.
    """
    if offset != 0:
        _refuse(f"nms with offset={offset}", "set offset=0 (widths are x1 - x0)")
    # Half precision: the CPU has no kernel for it, and it would decide IoUs near the threshold by chance.
    return _kernels().nms(_at_least_float32(boxes), _at_least_float32(scores), iou_threshold)


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign by averaging; mmcv's calling convention, so the result goes into ``output``.

    Args:
        input: float [B, C, H, W].
        rois: float [N, 5], image index and x0 y0 x1 y1 in pixels of the image.
        output: [N, C, aligned_height, aligned_width], is overwritten.
        argmax_y: used by max pooling only.
        argmax_x: used by max pooling only.
        aligned_height: rows of the result.
        aligned_width: columns of the result.
        spatial_scale: pixels of ``input`` per pixel of the image.
        sampling_ratio: samples per bin and axis; 0 takes as many as the bin has pixels.
        pool_mode: 1 (average); mmcv's 0 (maximum) is not offered.
        aligned: shift by half a pixel, so that samples lie at pixel centres.

    Raises:
        UnsupportedOpError: ``pool_mode`` is 0.
    """
    _require_average(pool_mode)
    # Mixed precision: samples are summed in float32, as torchvision does under autocast.
    pooled = _kernels().roi_align(
        _at_least_float32(input),
        rois.to(_accumulation_dtype(input)),
        spatial_scale,
        aligned_height,
        aligned_width,
        sampling_ratio,
        aligned,
    )
    output.copy_(pooled)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Gradient of ``roi_align_forward`` by its input; it is added to ``grad_input`` [B, C, H, W].

    Raises:
        UnsupportedOpError: ``pool_mode`` is 0.
    """
    _require_average(pool_mode)
    gradient = _kernels()._roi_align_backward(
        _at_least_float32(grad_output),
        rois.to(_accumulation_dtype(grad_output)),
        spatial_scale,
        aligned_height,
        aligned_width,
        *grad_input.shape,
        sampling_ratio,
        aligned,
    )
    grad_input.add_(gradient)


def _require_average(pool_mode: int) -> None:
    if pool_mode != 1:
        _refuse("RoIAlign with pool_mode='max'", "set pool_mode='avg'")


def _refuse(what: str, instead: str = "") -> NoReturn:
    choices = f"{instead}, or {_REMEDY}" if instead else _REMEDY
    raise UnsupportedOpError(f"mmcv op {what} is not available: torchvision has no kernel for it; {choices}")


def _accumulation_dtype(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(_accumulation_dtype(tensor))


@functools.cache
def _kernels() -> Any:
    try:
        # Importing it registers the kernels; it is done here because it takes as long as all else together.
        importlib.import_module("torchvision.ops")
    except (ImportError, RuntimeError) as error:
        raise IncompatibleInstallError(
            f"torchvision does not load beside torch {torch.__version__} ({error}); install both from the same index, "
            "for example: pip install torch==2.14.1 torchvision==0.29.1"
        ) from error
    return torch.ops.torchvision


class _Extension(ModuleType):
    """Stands in for ``mmcv._ext``."""

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        # mmcv looks every op up while it is imported, and needs it only when a layer calls it.
        if name.startswith("__"):
            raise AttributeError(f"module {EXTENSION!r} has no attribute {name!r}")

        def unavailable(*arguments: Any, **options: Any) -> NoReturn:
            _refuse(name)

        unavailable.__name__ = unavailable.__qualname__ = name
        setattr(self, name, unavailable)
        return unavailable


class _Loader(importlib.abc.Loader):
    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Extension(spec.name, "mmcv's ops on torchvision's kernels")

    def exec_module(self, module: ModuleType) -> None:
        for function in (nms, roi_align_forward, roi_align_backward):
            setattr(module, function.__name__, function)


class _Finder(importlib.abc.MetaPathFinder):
    # Appended to sys.meta_path: asked last, so that a compiled module would be found before.
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != EXTENSION:
            return None
        return importlib.machinery.ModuleSpec(name, _Loader(), origin="torchvision")


def _import_mmcv() -> ModuleType:
    try:
        return importlib.import_module("mmcv")
    except ModuleNotFoundError as error:
        if error.name != "mmcv":
            raise
        raise IncompatibleInstallError("mmcv is not installed; pip install mmcv-lite==2.1.0") from error


def _check_mmcv(mmcv: ModuleType) -> None:
    from mmengine.utils import digit_version

    if not OLDEST_MMCV <= digit_version(mmcv.__version__)[:3] < FIRST_UNFIT_MMCV:
        raise IncompatibleInstallError(
            f"mmcv {mmcv.__version__} is installed, but mmdet and mmsegmentation need 2.0.0 <= mmcv < 2.2.0; "
            "pip install mmcv-lite==2.1.0 (after pip uninstall mmcv)"
        )
