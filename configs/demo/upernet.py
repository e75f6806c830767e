# The demo's UPerNet: the small one, for synthetic images of 256 x 256 pixels; a minute on two cores.
_base_ = ["../upernet/upernet_small.py"]

iterations = 500
train_cfg = dict(val_interval=250)
