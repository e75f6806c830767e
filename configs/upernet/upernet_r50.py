# UPerNet with ResNetV1c-50 (background, cell types, rim) on Sartorius-like images (704 x 520, cells of 10-60 px), for
# one GPU of 24 GB; start from ImageNet or ADE20K weights with --pretrained. Not measured here.
_base_ = [
    "mmseg::_base_/models/upernet_r50.py",
    "../_base_/runtime.py",
    "../_base_/cells_map.py",
    "../_base_/schedule_long.py",
]
default_scope = "mmseg"

# The gap between touching cells is about one pixel; the finest map of the decoder has stride 4.
magnification = 2.0
view = (512, 512)
batch_size = 8
workers = 6
# The rim is a few percent of the pixels, and what keeps touching cells apart.
rim_weight = 3.0

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
    decode_head=dict(
        num_classes="{num_map_classes}",
        norm_cfg=norm_cfg,
        loss_decode=dict(class_weight="{map_class_weights}", avg_non_ignore=True),
    ),
    auxiliary_head=dict(
        num_classes="{num_map_classes}",
        norm_cfg=norm_cfg,
        loss_decode=dict(avg_non_ignore=True),
    ),
)

iterations = 20000
train_cfg = dict(val_interval=1000)
default_hooks = dict(logger=dict(interval=50), checkpoint=dict(interval=1000))
