# Emotion from the face alone (for tune_late_fusion.py), generated data; below 0.75, as many have no face.
_base_ = ["./_data.py"]

model = dict(
    encoders=dict(
        face=dict(type="ConvEncoder", width="{width}", strides=(2, 2, 2)),
    ),
    fusion=None,
)
