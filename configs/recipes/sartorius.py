"""Kaggle's Sartorius neurons with the full-size networks, cross-validated; for a GPU (--amp --device cuda --jobs 1).

Not measured here: the images may not be redistributed. Another network is another entry, as is another ensemble.
"""

data_root = "data/neurons"
folds = [0, 1, 2, 3, 4]
seeds = [0]

trainings = dict(
    yolox=dict(config="configs/yolox/yolox_s.py"),
    mask_rcnn=dict(config="configs/mask_rcnn/mask_rcnn_r50.py"),
    mask_rcnn_resnest=dict(config="configs/mask_rcnn/mask_rcnn_resnest50.py"),
    upernet=dict(config="configs/upernet/upernet_r50.py"),
)

# Every image holds one cell type.
one_type = {"fusion.one_type": True}
ensembles = dict(
    paper_nms=dict(config="configs/ensemble/paper_nms.py", members=["mask_rcnn"], options=one_type),
    paper_resnest=dict(
        config="configs/ensemble/paper_resnest.py", members=["mask_rcnn", "mask_rcnn_resnest"], options=one_type
    ),
    paper_ensemble=dict(
        config="configs/ensemble/paper_ensemble.py", members=["yolox", "mask_rcnn", "upernet"], options=one_type
    ),
)
del one_type
