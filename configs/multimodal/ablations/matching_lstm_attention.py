# Baseline of matching: LSTM-Attention; generated data; see matching_full.
_base_ = ["./_matching.py"]

model = dict(
    encoders=dict(image=dict(cbam=False)),
    fusion=dict(_delete_=True, type="LSTMAttentionFusion", width="{width}"),
)
