# Sentiment of an emoji from its picture alone.
_base_ = ["./_data.py"]

model = dict(
    encoders=dict(picture=dict(type="ConvEncoder", width="{width}", strides=(2, 2, 2), cbam=True)), fusion=None
)
