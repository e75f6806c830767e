"""Scores of multimodal models: pure functions, and the evaluator of the validation loop."""

from cellseg.multimodal.metrics.answers import vqa_accuracy
from cellseg.multimodal.metrics.bleu import bleu
from cellseg.multimodal.metrics.cider import cider_d
from cellseg.multimodal.metrics.classes import accuracy, label_accuracy, macro_f1, macro_label_f1, roc_auc
from cellseg.multimodal.metrics.meteor import meteor
from cellseg.multimodal.metrics.regression import regression_scores
from cellseg.multimodal.metrics.retrieval import retrieval_scores, top_k, true_pairs
from cellseg.multimodal.metrics.rouge import rouge_l
from cellseg.multimodal.metrics.tasks import score_task
from cellseg.multimodal.metrics.words import caption_words

__all__ = [
    "accuracy",
    "bleu",
    "caption_words",
    "cider_d",
    "label_accuracy",
    "macro_f1",
    "macro_label_f1",
    "meteor",
    "regression_scores",
    "retrieval_scores",
    "roc_auc",
    "rouge_l",
    "score_task",
    "top_k",
    "true_pairs",
    "vqa_accuracy",
]
