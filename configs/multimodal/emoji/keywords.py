# Sentiment of an emoji from its keywords alone; a few have none.
_base_ = ["./_data.py"]

model = dict(
    encoders=dict(
        keywords=dict(
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
