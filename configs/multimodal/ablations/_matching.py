# What the ablations of matching share: every picture with every caption, ranked by a probability that has seen both.
_base_ = ["../visual_language/matching_small.py"]

source = dict(options=dict(count=600))
model = dict(heads=dict(matching=dict(embedding=0)))
val_dataloader = dict(batch_size=256, dataset=dict(all_pairs=True))
best_by = "matching_image_to_text_top5"
train_cfg = dict(val_interval=400)
