# Small UPerNet (background, cell types, rim) from random weights, for two CPU cores: minutes on the demo's images.
_base_ = ["../_base_/upernet_small.py"]
