# Ablation of matching: concatenation for cross-attention, same size; generated data; see matching_full.
_base_ = ["./_matching.py"]

model = dict(
    fusion=dict(_delete_=True, type="ConcatFusion", width="{width}", layers=2),
)
