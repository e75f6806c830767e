# The demo's UPerNet: the small one, for synthetic images of 256 x 256 pixels; a minute and a half on one core.
_base_ = ["../upernet/upernet_small.py"]

# Every pixel teaches a dense network; the detectors get the time that they need more.
iterations = 300
train_cfg = dict(val_interval=300)
