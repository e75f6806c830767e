# Emotion from voice, features of the face and words, fused early, generated data; better than each alone.
_base_ = ["./_data.py"]

source = dict(options=dict(kinds=dict(face="tabular")))
model = dict(
    encoders=dict(
        audio=dict(type="SequenceEncoder", in_channels="{num_channels_audio}", width="{width}", strides=(2, 2)),
        face=dict(type="TabularEncoder", num_features="{num_features_face}", width="{width}", kind="mlp"),
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
