# The demo's YOLOX: the small one, for synthetic images of 256 x 256 pixels; two minutes on one core.
_base_ = ["../yolox/yolox_tiny_cells.py"]

exp = dict(max_epoch=40, no_aug_epochs=8, grow_epochs=12, eval_interval=40)
