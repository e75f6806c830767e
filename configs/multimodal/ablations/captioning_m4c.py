# Baseline of captioning: M4C (pointer transformer); generated data; see captioning_full.
_base_ = ["../visual_language/captioning_small.py"]

model = dict(
    encoders=dict(image=dict(cbam=False)),
    # Tokens stay apart until the pointer's own transformer mixes them.
    fusion=dict(_delete_=True, type="ConcatFusion", width="{width}", layers=0),
    heads=dict(
        captioning=dict(
            _delete_=True,
            type="PointerCaptioner",
            vocabulary_size="{vocabulary_size}",
            pad="{pad}",
            begin="{begin}",
            end="{end}",
            max_length="{max_length}",
            width="{width}",
            layers=2,
            heads=4,
            # Words of the prompt can be pointed at.
            copy="text",
        ),
    ),
)
