# Ablation of vqa: the model itself; generated data; far above chance, 0.5.
_base_ = ["../visual_language/vqa_small.py"]
