"""OpenMMLab on current PyTorch: importing this package prepares mmengine, mmcv, mmdet and mmseg.

mmcv's ops run on torchvision's kernels, checkpoints load as data only and are saved complete or not at all, and the
hook ``ExactResumeHook`` makes a resumed training go on as if it had not been interrupted.
"""

from cellseg.openmmlab.checkpoints import allow_mmengine_types, load_checkpoint_file, register_loaders
from cellseg.openmmlab.ops import IncompatibleInstallError, UnsupportedOpError, install_ops
from cellseg.openmmlab.quiet import silence_harmless_warnings
from cellseg.openmmlab.resume import ExactResumeHook, capture_random_states, restore_random_states
from cellseg.openmmlab.saving import latest_checkpoint, register_saving
from cellseg.openmmlab.scope import build_model, register_all_modules, scope
from cellseg.openmmlab.threads import ThreadPlan, plan_threads

silence_harmless_warnings()
install_ops()
allow_mmengine_types()
register_loaders()
register_saving()

__all__ = [
    "ExactResumeHook",
    "IncompatibleInstallError",
    "ThreadPlan",
    "UnsupportedOpError",
    "build_model",
    "capture_random_states",
    "latest_checkpoint",
    "load_checkpoint_file",
    "plan_threads",
    "register_all_modules",
    "restore_random_states",
    "scope",
]
