"""Late fusion: class probabilities of several trained models combined by tuned weights."""

from cellseg.multimodal.late_fusion.classical import CLASSIFIERS, FeatureSamples, classify
from cellseg.multimodal.late_fusion.combine import FusionWeights, combine
from cellseg.multimodal.late_fusion.ensemble import LateEnsemble, load_late_ensemble
from cellseg.multimodal.late_fusion.probabilities import ProbabilityTable, read_probabilities, save_probabilities
from cellseg.multimodal.late_fusion.study import Study, study_fusion
from cellseg.multimodal.late_fusion.table import study_table
from cellseg.multimodal.late_fusion.tuning import TuningOptions, align, tune_weights
from cellseg.multimodal.late_fusion.weights_file import load_fusion_weights, save_fusion_weights

__all__ = [
    "CLASSIFIERS",
    "FeatureSamples",
    "FusionWeights",
    "LateEnsemble",
    "ProbabilityTable",
    "Study",
    "TuningOptions",
    "align",
    "classify",
    "combine",
    "load_fusion_weights",
    "load_late_ensemble",
    "read_probabilities",
    "save_fusion_weights",
    "save_probabilities",
    "study_fusion",
    "study_table",
    "tune_weights",
]
