# Ablation of matching: the model itself; generated data; above chance (1 in 60).
_base_ = ["./_matching.py"]
