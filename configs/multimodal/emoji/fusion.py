# Sentiment of an emoji from its picture, its name and its keywords by cross-attention.
_base_ = ["./_data.py"]

model = dict(
    encoders=dict(
        picture=dict(type="ConvEncoder", width="{width}", strides=(2, 2, 2), cbam=True),
        name=dict(
            type="TextTransformerEncoder",
            vocabulary_size="{vocabulary_size}",
            width="{width}",
            layers=1,
            heads=4,
            max_length="{max_length}",
        ),
        keywords=dict(
            type="TextTransformerEncoder",
            vocabulary_size="{vocabulary_size}",
            width="{width}",
            layers=1,
            heads=4,
            max_length="{max_length}",
        ),
    ),
    fusion=dict(type="CrossAttentionFusion", width="{width}", layers=1, heads=4),
)
