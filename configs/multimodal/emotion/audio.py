# Emotion from voice alone (for tune_late_fusion.py), generated data; below 0.89, as some have no voice.
_base_ = ["./_data.py"]

model = dict(
    encoders=dict(
        audio=dict(type="SequenceEncoder", in_channels="{num_channels_audio}", width="{width}", strides=(2, 2)),
    ),
    fusion=None,
)
