# The demo's Mask R-CNN: the small one, for synthetic images of 256 x 256 pixels; four minutes on one core.
_base_ = ["../mask_rcnn/mask_rcnn_small.py"]

iterations = 450
train_cfg = dict(val_interval=450)
