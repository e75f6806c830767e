"""First row of the paper's table: Mask R-CNN with ResNet-50 alone, with non-maximum suppression.

The paper reports 0.283 on the public and 0.287 on the private images. For a training of
configs/mask_rcnn/mask_rcnn_r50.py on a GPU; paper_nms_small.py is the same for two CPU cores. Not measured here.
"""

data_root = "data/neurons"
fold = 0

members = [dict(type="mask_rcnn", work_dir="work_dirs/mask_rcnn_r50")]

# Boxes of different types may lie on the same cell: the best one stays.
fusion = dict(method="nms", iou_threshold=0.55, across_classes=True, margin=0.15)

# Where tuning starts, and what counts without it.
settings = dict(mask_threshold=0.5, score_threshold=0.5, nms_iou=0.15, min_area=0)
