"""Nuclei (2018 Data Science Bowl) with three seeds: four members, their vote, and a feature fusion; two CPU cores.

For images of about 256 x 256 pixels with nuclei of 10 to 60. docs/results.md has what came of it.
"""

data_root = "data/nuclei"
folds = [0]
seeds = [0, 1, 2]

trainings = dict(
    # Two images a step: in the same time, many small steps teach it more than half as many of four images.
    mask_rcnn=dict(
        config="configs/mask_rcnn/mask_rcnn_small.py",
        options={"view": (192, 192), "batch_size": 2, "iterations": 2000, "train_cfg.val_interval": 2000},
    ),
    upernet=dict(
        config="configs/upernet/upernet_flow_small.py",
        options={"view": (192, 192), "iterations": 1600, "train_cfg.val_interval": 1600},
    ),
    yolox=dict(
        config="configs/yolox/yolox_tiny_cells.py",
        options={"exp.max_epoch": 60, "exp.no_aug_epochs": 12, "exp.grow_epochs": 16, "exp.eval_interval": 60},
    ),
    upernet_crops=dict(
        config="configs/upernet/upernet_crops_small.py",
        options={"iterations": 1000, "train_cfg.val_interval": 1000},
    ),
    feature_fusion=dict(config="configs/feature_fusion/small.py", combines="four"),
)

# The detectors look once, which is four times cheaper than mirrored views; every image holds one kind of nuclei.
once = {"members.0.views": "none", "members.1.views": "none", "fusion.one_type": True}
four = ["yolox", "mask_rcnn", "upernet", "upernet_crops"]
ensembles = dict(
    # Only for the feature fusion: the comparison of the fused one has a row for the vote without it.
    four=dict(config="configs/ensemble/four_small.py", members=four, options=once, budget=0),
    fused=dict(config="configs/ensemble/fused_small.py", members=[*four, "feature_fusion"], options=once, budget=150),
)
del once, four
