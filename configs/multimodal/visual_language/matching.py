# Full visual-language model for matching pictures and captions, on generated data; meant for a GPU and a real set.
# For example: --cfg-options reader=captions data_root=FOLDER source.options._delete_=true
_base_ = ["./_full.py"]

source = dict(options=dict(task="matching", count=1000, outputs=8, noise=0.3), tasks=["matching"])
model = dict(
    heads=dict(
        matching=dict(type="PairMatcher", embedding=256),
    ),
)
best_by = "matching_embedding_image_to_text_top5"
