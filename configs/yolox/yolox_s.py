# YOLOX-s on Sartorius-like images (704 x 520, cells of 10 to 60 px), for one GPU of 24 GB; start from COCO or LIVECell
# weights with --pretrained. Public solutions of that competition report a box AP of about 0.36 for it.
_base_ = ["../_base_/yolox.py"]
# Strides of 8 to 32 px are made for larger things than cells: they see them twice as large.
magnification = 2.0

exp = dict(
    depth=0.33,
    width=0.50,
    strides=(8, 16, 32),
    input_size=(1024, 1024),
    mosaic_scale=(0.5, 1.5),
    batch_size=8,
    max_epoch=150,
    warmup_epochs=5,
    no_aug_epochs=15,
    # As in the paper, the input grows in the first phase of the training; then it varies by up to 5 x 32 px.
    grow_epochs=40,
    start_size=(512, 512),
    multiscale_range=5,
    optimizer="sgd",
    basic_lr_per_img=0.01 / 64,
    weight_decay=5e-4,
    ema=True,
    data_num_workers=8,
    eval_interval=5,
    print_interval=20,
)
