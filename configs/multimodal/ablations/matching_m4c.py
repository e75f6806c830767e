# Baseline of matching: M4C's self-attention over all tokens; generated data; see matching_full.
_base_ = ["./_matching.py"]

model = dict(
    encoders=dict(image=dict(cbam=False)),
    fusion=dict(_delete_=True, type="SharedTransformerFusion", width="{width}", layers=2, heads=4),
)
