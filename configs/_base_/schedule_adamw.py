# AdamW with a short warm-up and a cosine to (almost) zero, over the iterations that the config names.
learning_rate = 1e-3
warm_up = 50

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr="{learning_rate}", weight_decay=0.02),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end="{warm_up}"),
    dict(type="CosineAnnealingLR", by_epoch=False, begin="{warm_up}", end="{iterations}", eta_min=1e-5),
]
