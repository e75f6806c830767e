"""Scores of instance masks: IoU, the competition's mAP, F1 and PQ, recall by size, kinds of errors, intervals."""

from cellseg.metrics.bootstrap import paired_difference
from cellseg.metrics.competition import Score, competition_map, match_counts
from cellseg.metrics.error_kinds import ErrorKinds, classify_errors
from cellseg.metrics.evaluation import ImageResult, Summary, evaluate_image, summarize, summarize_types
from cellseg.metrics.iou import box_iou, intersections, mask_iou, shared_pixels
from cellseg.metrics.matching import THRESHOLDS, best_pairs, count_matches, measure_overlap
from cellseg.metrics.quality import Quality
from cellseg.metrics.size_recall import recall_by_size

__all__ = [
    "THRESHOLDS",
    "ErrorKinds",
    "ImageResult",
    "Quality",
    "Score",
    "Summary",
    "best_pairs",
    "box_iou",
    "classify_errors",
    "competition_map",
    "count_matches",
    "evaluate_image",
    "intersections",
    "mask_iou",
    "match_counts",
    "measure_overlap",
    "paired_difference",
    "recall_by_size",
    "shared_pixels",
    "summarize",
    "summarize_types",
]
