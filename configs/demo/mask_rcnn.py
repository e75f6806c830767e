# The demo's Mask R-CNN: the small one, for synthetic images of 256 x 256 pixels; three and a half minutes on one core.
_base_ = ["../mask_rcnn/mask_rcnn_small.py"]

# In the same time, many steps of two images teach it more than half as many of four.
batch_size = 2
iterations = 720
train_cfg = dict(val_interval=720)
