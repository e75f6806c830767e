# A small YOLOX that learns cells of 8 to 90 px from random weights: 600 steps of 4 images, 150 s of one CPU core.
# Expect a box AP50 of about 0.7 on 256 x 256 synthetic images of wells it has not seen (36 images to learn from).
_base_ = ["../_base_/yolox.py"]

exp = dict(
    depth=0.33,
    width=0.25,
    # Predictions from a quarter of the resolution on: a cell of 15 px spans four places of the finest grid.
    strides=(4, 8, 16),
    input_size=(256, 256),
    mosaic_scale=(0.7, 1.4),
    batch_size=4,
    # An epoch is 12 steps, however many images there are: the training takes equally long on any data.
    epoch_iterations=12,
    max_epoch=50,
    warmup_epochs=2,
    no_aug_epochs=8,
    grow_epochs=16,
    start_size=(128, 128),
    # SGD needs thousands of steps from random weights, AdamW hundreds.
    optimizer="adamw",
    basic_lr_per_img=1.5e-3,
    weight_decay=0.02,
    norm_momentum=0.1,
    data_num_workers=0,
    eval_interval=10,
    print_interval=20,
)
