# Data for mmdet: random views of the training images with instance masks, whole images for validation.
best_by = "segm_ap"
magnification = 1.0
batch_size = 4
workers = 0  # on two cores the loader would take them from the network
view = (160, 160)
view_scale = (0.8, 1.25)

train_dataloader = dict(
    batch_size="{batch_size}",
    num_workers="{workers}",
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="CellDataset",
        data_root="{data_root}",
        fold="{fold}",
        split="train",
        keep_empty=False,
        pipeline=[
            dict(type="LoadCells"),
            dict(type="RandomView", size="{view}", scale="{view_scale}", magnification="{magnification}"),
            dict(type="RandomLight"),
            dict(type="PackInstances"),
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CellDataset",
        data_root="{data_root}",
        fold="{fold}",
        split="val",
        pipeline=[
            dict(type="LoadCells"),
            dict(type="WholeView", magnification="{magnification}"),
            dict(type="PackInstances"),
        ],
    ),
)
val_evaluator = dict(type="InstanceAPMetric")
