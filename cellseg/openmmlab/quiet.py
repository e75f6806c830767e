"""Warnings of OpenMMLab about its own code that a user can do nothing about."""

import warnings

# (category, beginning of the message, module that warns): each is silenced there and nowhere else.
_HARMLESS: tuple[tuple[type[Warning], str, str], ...] = (
    (UserWarning, "pkg_resources is deprecated as an API", r"mmengine\.utils\.package_utils|importlib"),
    (UserWarning, "``build_loss`` would be deprecated soon", r"mmseg\.models\.builder"),
    (ImportWarning, "``MultiScaleDeformableAttention`` has been moved", r"mmcv\.cnn\.bricks\.transformer"),
    (FutureWarning, r"`torch\.cuda\.amp\.GradScaler\(args\.\.\.\)` is deprecated", r"mmengine\.optim\.optimizer"),
    (FutureWarning, r"`torch\.cuda\.amp\.autocast\(args\.\.\.\)` is deprecated", r"(mmengine|mmdet)\."),
)


def silence_harmless_warnings() -> None:
    """Silence what the table above names; any other warning is shown as before."""
    for category, message, module in _HARMLESS:
        warnings.filterwarnings("ignore", message=message, category=category, module=module)
