# Mask R-CNN with ResNeSt-50 and FPN on Sartorius-like images (704 x 520, cells of 10 to 60 px), for one GPU of 24 GB;
# start from COCO or LIVECell weights with --pretrained. Not measured here; the paper reports it above ResNet.
_base_ = ["./mask_rcnn_r50.py"]

norm = dict(type="BN", requires_grad=True)
model = dict(
    backbone=dict(
        type="ResNeSt",
        stem_channels=64,
        radix=2,
        reduction_factor=4,
        avg_down_stride=True,
        norm_cfg=norm,
    ),
    # The heads that mmdet pairs with this backbone: convolutions with BatchNorm, and one linear layer.
    roi_head=dict(
        bbox_head=dict(type="Shared4Conv1FCBBoxHead", conv_out_channels=256, norm_cfg=norm),
        mask_head=dict(norm_cfg=norm),
    ),
)
