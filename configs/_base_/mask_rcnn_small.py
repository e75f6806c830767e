# A small Mask R-CNN that learns from random weights on a CPU: strides 2 to 16, GroupNorm, nothing frozen.
_base_ = ["./runtime.py", "./cells_instances.py", "./schedule_adamw.py"]
default_scope = "mmdet"

norm = dict(type="GN", num_groups=8)
model = dict(
    type="MaskRCNN",
    data_preprocessor=dict(
        type="DetDataPreprocessor", mean="{mean}", std="{std}", bgr_to_rgb=False, pad_mask=True, pad_size_divisor=16
    ),
    backbone=dict(
        type="FineStemResNet",
        depth=10,
        base_channels=24,
        out_indices=(0, 1, 2, 3),
        frozen_stages=-1,
        norm_cfg=norm,
        norm_eval=False,
        style="pytorch",
        init_cfg=None,
    ),
    neck=dict(type="FPN", in_channels=[24, 48, 96, 192], out_channels=48, num_outs=4, norm_cfg=norm),
    rpn_head=dict(
        type="CoarseRPNHead",
        skip=1,
        in_channels=48,
        feat_channels=48,
        # Boxes of 8 to 90 px: the cells of the sets this config is for.
        anchor_generator=dict(type="AnchorGenerator", scales=[3, 4.5], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16]),
        bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=[1.0] * 4),
        loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(type="L1Loss", loss_weight=1.0),
    ),
    roi_head=dict(
        type="StandardRoIHead",
        bbox_roi_extractor=dict(
            type="SingleRoIExtractor",
            roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=2),
            out_channels=48,
            featmap_strides=[2, 4, 8],
            finest_scale=24,
        ),
        bbox_head=dict(
            type="Shared2FCBBoxHead",
            in_channels=48,
            fc_out_channels=128,
            roi_feat_size=7,
            num_classes="{num_classes}",
            bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2]),
            reg_class_agnostic=True,
            loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
            loss_bbox=dict(type="L1Loss", loss_weight=1.0),
        ),
        mask_roi_extractor=dict(
            type="SingleRoIExtractor",
            roi_layer=dict(type="RoIAlign", output_size=14, sampling_ratio=2),
            out_channels=48,
            featmap_strides=[2, 4, 8],
            finest_scale=24,
        ),
        mask_head=dict(
            type="FCNMaskHead",
            num_convs=2,
            in_channels=48,
            conv_out_channels=48,
            class_agnostic=True,
            num_classes="{num_classes}",
            norm_cfg=norm,
            loss_mask=dict(type="CrossEntropyLoss", use_mask=True, loss_weight=1.0),
        ),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(
                type="MaxIoUAssigner",
                pos_iou_thr=0.6,
                neg_iou_thr=0.3,
                min_pos_iou=0.3,
                match_low_quality=True,
                ignore_iof_thr=-1,
            ),
            sampler=dict(type="RandomSampler", num=256, pos_fraction=0.5, neg_pos_ub=-1, add_gt_as_proposals=False),
            allowed_border=-1,
            pos_weight=-1,
            debug=False,
        ),
        rpn_proposal=dict(nms_pre=600, max_per_img=300, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=2),
        rcnn=dict(
            assigner=dict(
                type="MaxIoUAssigner",
                pos_iou_thr=0.5,
                neg_iou_thr=0.5,
                min_pos_iou=0.5,
                match_low_quality=False,
                ignore_iof_thr=-1,
            ),
            sampler=dict(type="RandomSampler", num=64, pos_fraction=0.5, neg_pos_ub=-1, add_gt_as_proposals=True),
            mask_size=28,
            pos_weight=-1,
            debug=False,
        ),
    ),
    test_cfg=dict(
        # No limit of 100: a Sartorius image holds up to 790 cells.
        rpn=dict(nms_pre=3000, max_per_img=2000, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=2),
        rcnn=dict(score_thr=0.05, nms=dict(type="nms", iou_threshold=0.5), max_per_img=2000, mask_thr_binary=0.5),
    ),
)

iterations = 600
train_cfg = dict(val_interval=200)
