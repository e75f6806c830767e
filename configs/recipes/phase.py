"""Phase-contrast cells (phase_usiigaci, half scale), cross-validated: members, votes, feature fusion, the paper's rows.

For two CPU cores. Three folds (--folds 3): every image is held out once. docs/results.md has what came of it.
"""

data_root = "data/phase"
folds = [0, 1, 2]
seeds = [0]

# Two images a step: in the same time, many small steps teach a Mask R-CNN more than half as many of four images.
region = {"view": (192, 192), "batch_size": 2, "iterations": 1500, "train_cfg.val_interval": 1500}
trainings = dict(
    upernet=dict(
        config="configs/upernet/upernet_flow_small.py",
        options={"magnification": 1.5, "view": (224, 224), "iterations": 1800, "train_cfg.val_interval": 1800},
    ),
    mask_rcnn=dict(config="configs/mask_rcnn/mask_rcnn_small.py", options=region),
    mask_rcnn_resnest=dict(config="configs/mask_rcnn/mask_rcnn_resnest_small.py", options=region),
    yolox=dict(
        config="configs/yolox/yolox_tiny_cells.py",
        options={"exp.max_epoch": 80, "exp.no_aug_epochs": 12, "exp.grow_epochs": 20, "exp.eval_interval": 80},
    ),
    upernet_crops=dict(
        config="configs/upernet/upernet_crops_small.py",
        options={"iterations": 1000, "train_cfg.val_interval": 1000},
    ),
    feature_fusion=dict(config="configs/feature_fusion/small.py", combines="four"),
    evidence_fusion=dict(config="configs/feature_fusion/evidence_only.py", combines="four"),
)

# Every image holds one type of cells.
one_type = {"fusion.one_type": True}
four = ["yolox", "mask_rcnn", "upernet", "upernet_crops"]
ensembles = dict(
    paper_nms=dict(config="configs/ensemble/paper_nms_small.py", members=["mask_rcnn"], options=one_type),
    paper_resnest=dict(
        config="configs/ensemble/paper_resnest_small.py", members=["mask_rcnn", "mask_rcnn_resnest"], options=one_type
    ),
    paper_ensemble=dict(
        config="configs/ensemble/paper_ensemble_small.py", members=["yolox", "mask_rcnn", "upernet"], options=one_type
    ),
    evidence_only=dict(config="configs/ensemble/fused_small.py", members=[*four, "evidence_fusion"], options=one_type),
    fused=dict(config="configs/ensemble/fused_small.py", members=[*four, "feature_fusion"], options=one_type),
    four_margins=dict(config="configs/ensemble/four_small.py", members=four, options=one_type, margins=[0.0, 0.3]),
    four=dict(config="configs/ensemble/four_small.py", members=four, options=one_type, cross_validate=3, report=True),
)
del region, one_type, four
