"""The paper's second row with small networks: instances of two Mask R-CNNs, ResNet and ResNeSt, fused, with NMS.

For trainings of configs/mask_rcnn/mask_rcnn_small.py and mask_rcnn_resnest_small.py on two CPU cores.
"""

_base_ = ["./paper_resnest.py"]

data_root = "data/demo"
members = [
    dict(type="mask_rcnn", work_dir="work_dirs/mask_rcnn"),
    dict(type="mask_rcnn", name="mask_rcnn_resnest", work_dir="work_dirs/mask_rcnn_resnest"),
]
settings = dict(score_threshold=0.3, nms_iou=0.3)
matching = dict(nms_iou=0.3)
