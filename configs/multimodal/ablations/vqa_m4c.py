# Baseline of vqa: M4C's self-attention, answers to choose from; generated data; see vqa_full.
_base_ = ["../visual_language/vqa_small.py"]

model = dict(
    encoders=dict(image=dict(cbam=False)),
    fusion=dict(_delete_=True, type="SharedTransformerFusion", width="{width}", layers=2, heads=4),
)
