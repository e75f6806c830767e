# UPerNet with ResNetV1c-50 on 128 px crops of boxes (central cell, neighbours, background) of Sartorius-like images,
# for one GPU of 24 GB; start from ImageNet or ADE20K weights with --pretrained. Not measured here.
_base_ = [
    "mmseg::_base_/models/upernet_r50.py",
    "../_base_/cells_crops.py",
    "../_base_/schedule_long.py",
]
default_scope = "mmseg"

crop_size = 128
batch_size = 8
crops_per_image = 16
workers = 6

# One GPU: BatchNorm over its own batch, instead of the synchronised one of the inherited file.
norm_cfg = dict(type="BN", requires_grad=True)
data_preprocessor = dict(
    mean="{mean}",
    std="{std}",
    bgr_to_rgb=False,
    size_divisor=32,
    test_cfg=dict(size_divisor=32),
)
model = dict(
    data_preprocessor=data_preprocessor,
    pretrained=None,
    # The last stage keeps its resolution and looks wider instead.
    backbone=dict(norm_cfg=norm_cfg, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), frozen_stages=-1),
    decode_head=dict(num_classes=3, norm_cfg=norm_cfg, loss_decode=dict(avg_non_ignore=True)),
    auxiliary_head=dict(num_classes=3, norm_cfg=norm_cfg, loss_decode=dict(avg_non_ignore=True)),
)

iterations = 20000
train_cfg = dict(val_interval=1000)
default_hooks = dict(logger=dict(interval=50), checkpoint=dict(interval=1000))
