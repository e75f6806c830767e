# Ablation of vqa: the text alone; generated data; about 0.5, chance: it does not see.
_base_ = ["../visual_language/vqa_small.py"]

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
