"""The vote of four small members: box crops join YOLOX, Mask R-CNN and UPerNet, and all see mirrored images, too.

What docs/results.md measures on real images. Other folders: --cfg-options data_root=data/mine
members.0.work_dir=work_dirs/mine_yolox ...
"""

data_root = "data/demo"
fold = 0

members = [
    dict(type="yolox", work_dir="work_dirs/yolox", views="mirrors"),
    dict(type="mask_rcnn", work_dir="work_dirs/mask_rcnn", views="mirrors"),
    dict(type="upernet", work_dir="work_dirs/upernet", views="mirrors"),
    dict(type="upernet_crops", work_dir="work_dirs/upernet_crops"),
]

# Boxes that overlap mean one cell whatever types their members took it for.
fusion = dict(method="wbf", iou_threshold=0.55, across_classes=True, margin=0.15)

# Where tuning starts, and what counts without it.
settings = dict(exponent=1.0, mask_threshold=0.5, score_threshold=0.3, nms_iou=0.3, min_area=0)
