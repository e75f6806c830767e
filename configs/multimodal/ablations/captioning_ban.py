# Baseline of captioning: BAN (bilinear attention) before the same decoder; generated data; see captioning_full.
_base_ = ["../visual_language/captioning_small.py"]

model = dict(
    encoders=dict(image=dict(cbam=False)),
    fusion=dict(_delete_=True, type="BilinearAttentionNetwork", width="{width}", glimpses=2),
)
