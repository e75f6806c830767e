# Baseline of matching: m-DAN (dual attention, matching), by embeddings; generated data; see matching_full.
_base_ = ["./_matching.py"]

model = dict(
    encoders=dict(image=dict(cbam=False)),
    fusion=dict(_delete_=True, type="ConcatFusion", width="{width}", layers=0),
    heads=dict(matching=dict(_delete_=True, type="MatchingDualAttention", width="{width}", steps=2)),
)

# Each picture and caption is embedded once.
val_dataloader = dict(dataset=dict(all_pairs=False))
best_by = "matching_embedding_image_to_text_top5"
