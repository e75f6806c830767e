# The demo's YOLOX: the small one, for synthetic images of 256 x 256 pixels; two minutes on one core.
_base_ = ["../yolox/yolox_tiny_cells.py"]

exp = dict(max_epoch=32, no_aug_epochs=8, grow_epochs=10, eval_interval=32)
