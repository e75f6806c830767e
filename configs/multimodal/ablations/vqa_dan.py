# Baseline of vqa: r-DAN (dual attention, reasoning); generated data; see vqa_full.
_base_ = ["../visual_language/vqa_small.py"]

model = dict(
    encoders=dict(image=dict(cbam=False)),
    fusion=dict(_delete_=True, type="ReasoningDualAttention", width="{width}", steps=2),
)
