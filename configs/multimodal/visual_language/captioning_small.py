# Small visual-language model for captions of pictures, on generated data; all words but the opening, which is random.
# Other data: --cfg-options reader=captions data_root=FOLDER source.options._delete_=true
_base_ = ["./_small.py"]

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
            width="{width}",
            layers=2,
            heads=4,
        ),
    ),
)
best_by = "captioning_cider"
iterations = 800
