# Ablation of captioning: concatenation for cross-attention, same size; generated data; see captioning_full.
_base_ = ["../visual_language/captioning_small.py"]

model = dict(
    fusion=dict(_delete_=True, type="ConcatFusion", width="{width}", layers=2),
)
