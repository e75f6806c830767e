"""mmdet and mmseg side by side in one process, each under its own registry scope."""

import copy
import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from cellseg.errors import InputError

SCOPES = ("mmdet", "mmseg", "mmengine")


def register_all_modules() -> None:
    """Put everything that mmdet and mmseg have into their registries; the current default scope stays."""
    for package in ("mmdet", "mmseg"):
        _register(package)


@contextmanager
def scope(name: str) -> Iterator[None]:
    """Build and run under one package's names; afterwards the scope is what it was before.

    Both packages have a ``FCNHead``, a ``ResNet`` and many more of one name, and some of their modules look names
    up while they run, so a network is built and called under the scope it belongs to.

    Args:
        name: ``mmdet``, ``mmseg`` or ``mmengine`` (the common root).

    Raises:
        InputError: another name.
    """
    if name not in SCOPES:
        raise InputError(f"unknown scope {name!r}; expected one of {', '.join(SCOPES)}")
    if name != "mmengine":
        _register(name)
    with DefaultScope.overwrite_default_scope(name):
        yield


def build_model(config: Mapping[str, Any], scope_name: str) -> nn.Module:
    """Build a network from the ``model`` part of a config, without initialising or loading its weights.

    Args:
        config: has ``type`` and the settings of that network; it is not changed.
        scope_name: the package it belongs to, see ``scope``.
    """
    with scope(scope_name):
        # The networks read their settings as attributes.
        return MODELS.build(ConfigDict(copy.deepcopy(config)))


def _register(package: str) -> None:
    importlib.import_module(f"{package}.utils").register_all_modules(init_default_scope=False)
