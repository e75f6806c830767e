"""The values everything speaks in: masks as crops, instances, and their codes."""

from cellseg.structures.instances import Instances
from cellseg.structures.masks import CropMasks

__all__ = ["CropMasks", "Instances"]
