"""The vote of the three small members, on the data folder that they were trained on.

Train them with configs/{yolox,mask_rcnn,upernet}, tune with tools/tune_ensemble.py, segment with
tools/ensemble_infer.py. Other folders: --cfg-options data_root=data/mine members.0.work_dir=work_dirs/mine_yolox ...
"""

data_root = "data/demo"
fold = 0

members = [
    dict(type="yolox", work_dir="work_dirs/yolox"),
    dict(type="mask_rcnn", work_dir="work_dirs/mask_rcnn"),
    dict(type="upernet", work_dir="work_dirs/upernet", views="mirrors"),
]

# Boxes that overlap mean one cell whatever types their members took it for.
fusion = dict(method="wbf", iou_threshold=0.55, across_classes=True, margin=0.15)

# Where tuning starts, and what counts without it.
settings = dict(exponent=1.0, mask_threshold=0.5, score_threshold=0.3, nms_iou=0.3, min_area=0)
