"""Prepares OpenMMLab before the test files here import mmcv and mmdet."""

import cellseg.openmmlab  # noqa: F401
