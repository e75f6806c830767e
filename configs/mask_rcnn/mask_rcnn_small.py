# Small Mask R-CNN from random weights, for two CPU cores: minutes on the demo's synthetic data.
_base_ = ["../_base_/mask_rcnn_small.py"]
