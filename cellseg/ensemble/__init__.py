"""The ensemble: boxes are fused, every member answers for them, and a vote decides pixel by pixel."""

from cellseg.ensemble.calibration import (
    Calibration,
    calibrate_members,
    expected_calibration_error,
    fit_calibration,
)
from cellseg.ensemble.claims import claim_pixels
from cellseg.ensemble.cleaning import clean
from cellseg.ensemble.evidence import ImageEvidence
from cellseg.ensemble.fusion import FusedBoxes, fuse_boxes
from cellseg.ensemble.matching import MatchOptions, match_instances
from cellseg.ensemble.options import FusionOptions
from cellseg.ensemble.pipeline import Ensemble
from cellseg.ensemble.resolve import resolve
from cellseg.ensemble.settings import EnsembleSettings, Settings, uniform_settings
from cellseg.ensemble.suppression import mask_nms
from cellseg.ensemble.uncertainty import disagreement
from cellseg.ensemble.vote_schemes import SCHEMES
from cellseg.ensemble.voting import vote
from cellseg.ensemble.weights_file import load_weights, save_weights
from cellseg.ensemble.windows import enlarge_boxes

__all__ = [
    "SCHEMES",
    "Calibration",
    "Ensemble",
    "EnsembleSettings",
    "FusedBoxes",
    "FusionOptions",
    "ImageEvidence",
    "MatchOptions",
    "Settings",
    "calibrate_members",
    "claim_pixels",
    "clean",
    "disagreement",
    "enlarge_boxes",
    "expected_calibration_error",
    "fit_calibration",
    "fuse_boxes",
    "load_weights",
    "mask_nms",
    "match_instances",
    "resolve",
    "save_weights",
    "uniform_settings",
    "vote",
]
