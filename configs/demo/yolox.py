# The demo's YOLOX: the small one, for synthetic images of 256 x 256 pixels; a minute and a half on one core.
_base_ = ["../yolox/yolox_tiny_cells.py"]

exp = dict(max_epoch=24, no_aug_epochs=5, grow_epochs=8, eval_interval=24)
