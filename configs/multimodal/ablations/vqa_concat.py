# Ablation of vqa: concatenation for cross-attention, same size; generated data; see vqa_full.
_base_ = ["../visual_language/vqa_small.py"]

model = dict(
    fusion=dict(_delete_=True, type="ConcatFusion", width="{width}", layers=2),
)
