# Baseline of captioning: LSTM-Attention (Show, Attend and Tell); generated data; see captioning_full.
_base_ = ["../visual_language/captioning_small.py"]

model = dict(
    encoders=dict(_delete_=True, image=dict(type="ConvEncoder", width="{width}", strides=(2, 2, 2))),
    fusion=None,
    heads=dict(
        captioning=dict(
            _delete_=True,
            type="LSTMAttentionCaptioner",
            vocabulary_size="{vocabulary_size}",
            pad="{pad}",
            begin="{begin}",
            end="{end}",
            max_length="{max_length}",
            embedding="{width}",
            width=128,
            dropout=0.2,
        ),
    ),
)
