# Ablation of captioning: no CBAM; generated data; see captioning_full.
_base_ = ["../visual_language/captioning_small.py"]

model = dict(
    encoders=dict(image=dict(cbam=False)),
)
