# Feature fusion of the three small members: their neck features and evidence, corrected by small networks; minutes.
_base_ = ["../_base_/feature_fusion.py"]
