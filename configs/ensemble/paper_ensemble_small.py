"""The paper's third row with small networks: YOLOX, Mask R-CNN and UPerNet vote, each image seen once by each.

For trainings of configs/yolox/yolox_tiny_cells.py, mask_rcnn/mask_rcnn_small.py and upernet/upernet_small.py (or
upernet_flow_small.py, which configs/recipes/phase.py takes) on two CPU cores. small.py is the same with UPerNet's map
averaged over mirrored views.
"""

_base_ = ["./paper_ensemble.py"]

data_root = "data/demo"
members = [
    dict(type="yolox", work_dir="work_dirs/yolox"),
    dict(type="mask_rcnn", work_dir="work_dirs/mask_rcnn"),
    dict(type="upernet", work_dir="work_dirs/upernet"),
]
settings = dict(nms_iou=0.3)
