# AdamW for a GPU training: 500 iterations of warm-up, a cosine over the rest, validation every 1000.
learning_rate = 1e-4

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr="{learning_rate}", weight_decay=0.05),
    # Weight decay is for convolutions, not for the scale of a normalisation or for biases.
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=500),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=500, end="{iterations}", eta_min=1e-6),
]
