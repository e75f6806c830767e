# Small Mask R-CNN with split attention (ResNeSt) from random weights, for two CPU cores: minutes on synthetic images.
# A step takes about a third longer than one of mask_rcnn_small.
_base_ = ["../_base_/mask_rcnn_small.py"]

model = dict(
    backbone=dict(
        type="FineStemResNeSt",
        depth=14,
        base_channels=16,
        stem_channels=32,
        radix=2,
        reduction_factor=4,
        avg_down_stride=True,
    ),
    # A bottleneck block gives four times its own channels.
    neck=dict(in_channels=[64, 128, 256, 512]),
)
