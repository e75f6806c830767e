# Full visual-language model for captions of pictures, on generated data; meant for a GPU and a real set.
# For example: --cfg-options reader=captions data_root=FOLDER source.options._delete_=true
_base_ = ["./_full.py"]

source = dict(options=dict(task="captioning", count=1000, outputs=4, noise=0.3), tasks=["captioning"])
model = dict(
    heads=dict(
        captioning=dict(
            type="CaptionTransformer",
            vocabulary_size="{vocabulary_size}",
            pad="{pad}",
            begin="{begin}",
            end="{end}",
            max_length="{max_length}",
            width=768,
            layers=6,
            heads=12,
        ),
    ),
)
best_by = "captioning_cider"
