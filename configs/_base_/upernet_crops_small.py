# A small UPerNet for crops of boxes that learns from random weights on a CPU: FPN, pyramid pooling, auxiliary loss.
_base_ = ["./cells_crops.py", "./schedule_adamw.py"]
default_scope = "mmseg"

norm = dict(type="GN", num_groups=8)
# With ReLU the last features of a small head die easily: all cell pixels end as zeros and only background is learned.
activation = dict(type="LeakyReLU", negative_slope=0.1)
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean="{mean}",
        std="{std}",
        bgr_to_rgb=False,
        pad_val=0,
        seg_pad_val=255,
        size_divisor=16,
        test_cfg=dict(size_divisor=16),
    ),
    backbone=dict(
        type="FineStemResNet",
        depth=10,
        base_channels=16,
        out_indices=(0, 1, 2, 3),
        frozen_stages=-1,
        norm_cfg=norm,
        norm_eval=False,
        style="pytorch",
        init_cfg=None,
    ),
    decode_head=dict(
        type="UPerHead",
        in_channels=[16, 32, 64, 128],
        in_index=[0, 1, 2, 3],
        # The coarsest features of a crop are 4 x 4: pooling to 6 x 6 would repeat them.
        pool_scales=(1, 2, 3),
        channels=24,
        dropout_ratio=0.0,
        num_classes=3,
        norm_cfg=norm,
        act_cfg=activation,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0, avg_non_ignore=True),
    ),
    auxiliary_head=dict(
        type="FCNHead",
        in_channels=64,
        in_index=2,
        channels=24,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=3,
        norm_cfg=norm,
        act_cfg=activation,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=0.4, avg_non_ignore=True),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)

learning_rate = 2e-3
iterations = 600
train_cfg = dict(val_interval=200)
