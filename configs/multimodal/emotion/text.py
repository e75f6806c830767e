# Emotion from words alone (for tune_late_fusion.py), generated data; below 0.60, as most have no words.
_base_ = ["./_data.py"]

model = dict(
    encoders=dict(
        text=dict(
            type="TextTransformerEncoder",
            vocabulary_size="{vocabulary_size}",
            width="{width}",
            layers=1,
            heads=4,
            max_length="{max_length}",
        ),
    ),
    fusion=None,
)
