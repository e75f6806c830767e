# Ablation of captioning: the text alone; generated data; one caption for all: low CIDEr.
_base_ = ["../visual_language/captioning_small.py"]

model = dict(
    encoders=dict(
        _delete_=True,
        text=dict(
            type="TextTransformerEncoder",
            vocabulary_size="{vocabulary_size}",
            width="{width}",
            layers=2,
            heads=4,
            max_length="{max_length}",
        ),
    ),
    fusion=None,
)
