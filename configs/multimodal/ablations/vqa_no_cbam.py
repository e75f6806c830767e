# Ablation of vqa: no CBAM; generated data; see vqa_full.
_base_ = ["../visual_language/vqa_small.py"]

model = dict(
    encoders=dict(image=dict(cbam=False)),
)
