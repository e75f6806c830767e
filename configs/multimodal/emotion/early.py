# Emotion from voice, face and words with features fused early, generated data; better than each alone.
_base_ = ["./_data.py"]

model = dict(
    encoders=dict(
        audio=dict(type="SequenceEncoder", in_channels="{num_channels_audio}", width="{width}", strides=(2, 2)),
        face=dict(type="ConvEncoder", width="{width}", strides=(2, 2, 2)),
        text=dict(
            type="TextTransformerEncoder",
            vocabulary_size="{vocabulary_size}",
            width="{width}",
            layers=1,
            heads=4,
            max_length="{max_length}",
        ),
    ),
    fusion=dict(type="EarlyFusion", width="{width}"),
)
