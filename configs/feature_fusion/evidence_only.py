# Ablation of the feature fusion: the same networks see the members' evidence alone, without features.
_base_ = ["../_base_/feature_fusion.py"]

use_features = False
