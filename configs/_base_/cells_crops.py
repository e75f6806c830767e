# Data for mmseg: crops of jittered boxes with the box's own cell, neighbours and background; validation without chance.
_base_ = ["./runtime.py"]
custom_imports = dict(
    imports=[
        *_base_.custom_imports.imports,  # noqa: F821
        "cellseg.datasets.box_crops",
        "cellseg.training.evaluators_crops",
    ]
)
best_by = "central_iou"
# A crop is the box enlarged by the margin on each side, stretched to crop_size x crop_size pixels.
crop_size = 64
crop_margin = 0.25
# An iteration sees batch_size images, and crops_per_image crops of each.
batch_size = 4
crops_per_image = 8
workers = 0  # on two cores the loader would take them from the network
# How far boxes are off: factors of their width and height, and the part of these by which they are shifted.
box_scale = (0.74, 1.35)
box_shift = 0.13
val_crops_per_image = 16

train_dataloader = dict(
    batch_size="{batch_size}",
    num_workers="{workers}",
    sampler=dict(type="InfiniteSampler", shuffle=True),
    collate_fn=dict(type="collate_crops"),
    dataset=dict(
        type="BoxCropDataset",
        data_root="{data_root}",
        fold="{fold}",
        split="train",
        size="{crop_size}",
        margin="{crop_margin}",
        crops_per_image="{crops_per_image}",
        scale="{box_scale}",
        shift="{box_shift}",
        pipeline=[dict(type="RandomLight"), dict(type="PackCropMap")],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="collate_crops"),
    dataset=dict(
        type="BoxCropDataset",
        data_root="{data_root}",
        fold="{fold}",
        split="val",
        size="{crop_size}",
        margin="{crop_margin}",
        crops_per_image="{val_crops_per_image}",
        scale="{box_scale}",
        shift="{box_shift}",
        turn=False,
        seed=0,
        pipeline=[dict(type="PackCropMap")],
    ),
)
val_evaluator = dict(type="CentralCellMetric", margin="{crop_margin}")
