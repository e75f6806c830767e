# AdamW for a long training on a GPU: a warm-up, then a cosine to (almost) zero over the iterations of the config.
learning_rate = 1e-4
warm_up = 500

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr="{learning_rate}", weight_decay=0.05),
    # Weight decay is for convolutions, not for the scale of a normalisation or for biases.
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end="{warm_up}"),
    dict(type="CosineAnnealingLR", by_epoch=False, begin="{warm_up}", end="{iterations}", eta_min=1e-6),
]
