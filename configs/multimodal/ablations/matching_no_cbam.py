# Ablation of matching: no CBAM; generated data; see matching_full.
_base_ = ["./_matching.py"]

model = dict(
    encoders=dict(image=dict(cbam=False)),
)
