"""The ensemble: boxes are fused, every member answers for them, and a vote decides pixel by pixel."""

from cellseg.ensemble.claims import claim_pixels
from cellseg.ensemble.cleaning import clean
from cellseg.ensemble.evidence import ImageEvidence
from cellseg.ensemble.fusion import FusedBoxes, fuse_boxes
from cellseg.ensemble.options import FusionOptions
from cellseg.ensemble.pipeline import Ensemble
from cellseg.ensemble.resolve import resolve
from cellseg.ensemble.settings import EnsembleSettings, Settings, uniform_settings
from cellseg.ensemble.suppression import mask_nms
from cellseg.ensemble.voting import vote
from cellseg.ensemble.weights_file import load_weights, save_weights
from cellseg.ensemble.windows import enlarge_boxes

__all__ = [
    "Ensemble",
    "EnsembleSettings",
    "FusedBoxes",
    "FusionOptions",
    "ImageEvidence",
    "Settings",
    "claim_pixels",
    "clean",
    "enlarge_boxes",
    "fuse_boxes",
    "load_weights",
    "mask_nms",
    "resolve",
    "save_weights",
    "uniform_settings",
    "vote",
]
