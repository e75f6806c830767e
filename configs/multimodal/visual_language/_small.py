# What the small configs here share: the visual-language model with few channels, for two cores and small pictures.
_base_ = ["../../_base_/multimodal.py"]

width = 64
model = dict(
    encoders=dict(
        image=dict(type="ConvEncoder", width="{width}", strides=(2, 2, 2), cbam=True),
        text=dict(
            type="TextTransformerEncoder",
            vocabulary_size="{vocabulary_size}",
            width="{width}",
            layers=2,
            heads=4,
            max_length="{max_length}",
        ),
    ),
    fusion=dict(type="CrossAttentionFusion", width="{width}", layers=2, heads=4),
)

iterations = 600
