"""What ``fuse_boxes`` takes, and the refusal of everything else."""

import math

import torch
from torch import Tensor

from cellseg.errors import InputError

METHODS = ("wbf", "nmw", "nms", "soft_nms")
RULES = ("avg", "max", "box_and_model_avg", "absent_model_aware_avg")
DECAYS = ("gaussian", "linear")


def check_boxes(boxes: Tensor, scores: Tensor, labels: Tensor, members: Tensor, num_members: int | None) -> int:
    """Refuse boxes that cannot be fused; returns the number of members."""
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise InputError(f"fuse_boxes: boxes should have shape [K, 4], found {list(boxes.shape)}")
    for name, values in (("scores", scores), ("labels", labels), ("members", members)):
        if list(values.shape) != [len(boxes)]:
            raise InputError(f"fuse_boxes: {name} should have shape [{len(boxes)}], found {list(values.shape)}")
        if values.device != boxes.device:
            raise InputError(f"fuse_boxes: {name} should be on {boxes.device} like the boxes, found {values.device}")
        if name != "scores" and values.is_floating_point():
            raise InputError(f"fuse_boxes: {name} should be whole numbers, found {values.dtype}")
    bad = ~(boxes.isfinite().all(1) & (boxes[:, 2:] >= boxes[:, :2]).all(1))
    if bad.any():
        row = int(bad.nonzero()[0, 0])
        raise InputError(f"fuse_boxes: box {row} is {boxes[row].tolist()}; expected finite x0 <= x1 and y0 <= y1")
    bad = ~((scores >= 0) & (scores <= 1))
    if bad.any():
        row = int(bad.nonzero()[0, 0])
        raise InputError(f"fuse_boxes: score {row} is {scores[row].item()}; expected 0..1")
    if (labels < 0).any():
        raise InputError(f"fuse_boxes: label {int(labels.min())} is negative")
    largest = int(members.max()) if len(members) else -1
    num_members = largest + 1 if num_members is None else num_members
    if (members < 0).any() or largest >= num_members:
        raise InputError(f"fuse_boxes: members should lie in 0..{num_members - 1}, found {members.unique().tolist()}")
    return num_members


def check_weights(weights: Tensor | None, num_members: int, device: torch.device) -> Tensor:
    """Weights as float64 ``[M]``, 1 each for None; refuses what are no weights."""
    if weights is None:
        return torch.ones(num_members, dtype=torch.float64, device=device)
    weights = torch.as_tensor(weights, dtype=torch.float64, device=device)
    if list(weights.shape) != [num_members]:
        raise InputError(f"fuse_boxes: weights should have shape [{num_members}], found {list(weights.shape)}")
    if not (weights.isfinite() & (weights >= 0)).all() or (num_members and not (weights > 0).any()):
        raise InputError(f"fuse_boxes: weights {weights.tolist()} should be finite, 0 or more, and not all 0")
    return weights


def check_options(
    method: str,
    iou_threshold: float,
    rule: str | None,
    decay: str | None,
    sigma: float | None,
    min_score: float | None,
) -> None:
    """Refuse options of ``fuse_boxes`` that are out of range, or that do nothing together."""
    if method not in METHODS:
        raise InputError(f"fuse_boxes: method {method!r} is none of {', '.join(METHODS)}")
    if not 0 <= iou_threshold <= 1:
        raise InputError(f"fuse_boxes: iou_threshold {iou_threshold} should lie in 0..1")
    for name, value, known in (("rule", rule, RULES), ("decay", decay, DECAYS)):
        if value is not None and value not in known:
            raise InputError(f"fuse_boxes: {name} {value!r} is none of {', '.join(known)}")
    if method != "wbf" and rule is not None:
        raise InputError(f"fuse_boxes: rule belongs to wbf and does nothing for {method}; leave it out")
    for name, value in (("decay", decay), ("sigma", sigma), ("min_score", min_score)):
        if method != "soft_nms" and value is not None:
            raise InputError(f"fuse_boxes: {name} belongs to soft_nms and does nothing for {method}; leave it out")
    if sigma is not None and (decay == "linear" or not (math.isfinite(sigma) and sigma > 0)):
        raise InputError(f"fuse_boxes: sigma {sigma} should be above 0, and belongs to the gaussian decay")
    if min_score is not None and not 0 <= min_score <= 1:
        raise InputError(f"fuse_boxes: min_score {min_score} should lie in 0..1")
