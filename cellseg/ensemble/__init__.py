"""The ensemble: boxes are fused, every member answers for them, and a vote decides pixel by pixel."""

from cellseg.ensemble.boxes.fusion import FusedBoxes, fuse_boxes
from cellseg.ensemble.boxes.options import FusionOptions
from cellseg.ensemble.boxes.windows import enlarge_boxes
from cellseg.ensemble.evidence.values import ImageEvidence
from cellseg.ensemble.matching.match import MatchOptions, match_instances
from cellseg.ensemble.pipeline import Ensemble
from cellseg.ensemble.settings import EnsembleSettings, Settings, uniform_settings
from cellseg.ensemble.votes.calibration import (
    Calibration,
    calibrate_members,
    expected_calibration_error,
    fit_calibration,
)
from cellseg.ensemble.votes.claims import claim_pixels
from cellseg.ensemble.votes.cleaning import clean
from cellseg.ensemble.votes.resolve import resolve
from cellseg.ensemble.votes.schemes import SCHEMES
from cellseg.ensemble.votes.suppression import mask_nms
from cellseg.ensemble.votes.uncertainty import disagreement
from cellseg.ensemble.votes.voting import vote
from cellseg.ensemble.weights_file import load_weights, save_weights

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
