"""The vote of four small members and of a feature fusion of them.

The fusion (configs/feature_fusion/small.py) is trained after the others, with ensemble=configs/ensemble/four_small.py.
What docs/results.md measures on real images. Other folders: --cfg-options data_root=data/mine
members.0.work_dir=work_dirs/mine_yolox ...
"""

_base_ = ["./four_small.py"]

members = [
    dict(type="yolox", work_dir="work_dirs/yolox", views="mirrors"),
    dict(type="mask_rcnn", work_dir="work_dirs/mask_rcnn", views="mirrors"),
    dict(type="upernet", work_dir="work_dirs/upernet", views="mirrors"),
    dict(type="upernet_crops", work_dir="work_dirs/upernet_crops"),
    dict(type="feature_fusion", work_dir="work_dirs/feature_fusion"),
]
