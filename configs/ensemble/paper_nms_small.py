"""The paper's first row with a small network: Mask R-CNN alone, with non-maximum suppression.

For a training of configs/mask_rcnn/mask_rcnn_small.py on two CPU cores.
"""

_base_ = ["./paper_nms.py"]

data_root = "data/demo"
members = [dict(type="mask_rcnn", work_dir="work_dirs/mask_rcnn")]
settings = dict(score_threshold=0.3, nms_iou=0.3)
