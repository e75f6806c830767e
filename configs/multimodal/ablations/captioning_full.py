# Ablation of captioning: the model itself; generated data; all words but the random opening.
_base_ = ["../visual_language/captioning_small.py"]
