# Baseline of vqa: BAN (bilinear attention); generated data; see vqa_full.
_base_ = ["../visual_language/vqa_small.py"]

model = dict(
    encoders=dict(image=dict(cbam=False)),
    fusion=dict(_delete_=True, type="BilinearAttentionNetwork", width="{width}", glimpses=2),
)
