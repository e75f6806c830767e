# Small UPerNet on crops of boxes (central cell, neighbours, background) from random weights, two CPU cores: minutes.
_base_ = ["../_base_/upernet_crops_small.py"]
