# Mask R-CNN with ResNet-50 and FPN on Sartorius-like images (704 x 520, cells of 10 to 60 px), for one GPU of 24 GB;
# start from COCO or LIVECell weights with --pretrained. Not measured here; alone with NMS it scored 0.283 in the paper.
_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "../_base_/runtime.py",
    "../_base_/cells_instances.py",
    "../_base_/schedule_long.py",
]
default_scope = "mmdet"

# A neuron of 17 px is 34 px for the network: FPN's finest map, of stride 4, then has eight samples across it.
magnification = 2.0
view = (512, 512)
batch_size = 8
workers = 6

model = dict(
    data_preprocessor=dict(mean="{mean}", std="{std}", bgr_to_rgb=False),
    # Nothing frozen: microscope images differ from the photographs that weights come from, down to the first layer.
    backbone=dict(frozen_stages=-1, norm_eval=False, init_cfg=None),
    # Boxes of 16 to 256 px, 8 to 128 px of the image.
    rpn_head=dict(anchor_generator=dict(scales=[4])),
    roi_head=dict(bbox_head=dict(num_classes="{num_classes}"), mask_head=dict(num_classes="{num_classes}")),
    train_cfg=dict(rpn_proposal=dict(nms_pre=4000, max_per_img=2000)),
    test_cfg=dict(rpn=dict(nms_pre=4000, max_per_img=2000), rcnn=dict(max_per_img=2000)),
)

iterations = 20000
train_cfg = dict(val_interval=1000)
default_hooks = dict(logger=dict(interval=50), checkpoint=dict(interval=1000))
