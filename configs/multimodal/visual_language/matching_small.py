# Small visual-language model for matching pictures and captions, on generated data; Top-5 above chance, 0.05.
# Other data: --cfg-options reader=captions data_root=FOLDER source.options._delete_=true
_base_ = ["./_small.py"]

source = dict(options=dict(task="matching", count=1000, outputs=8, noise=0.3), tasks=["matching"])
model = dict(
    heads=dict(
        matching=dict(type="PairMatcher", embedding=64),
    ),
)
best_by = "matching_embedding_image_to_text_top5"
iterations = 800
