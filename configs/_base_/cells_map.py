# Data for mmseg: random views of the training images with the class of every pixel, whole images for validation.
best_by = "foreground_iou"
magnification = 1.0
batch_size = 4
workers = 0  # on two cores the loader would take them from the network
view = (160, 160)
view_scale = (0.8, 1.25)
flows = False  # whether the network learns the flows of the cells, too

train_dataloader = dict(
    batch_size="{batch_size}",
    num_workers="{workers}",
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="CellDataset",
        data_root="{data_root}",
        fold="{fold}",
        split="train",
        pipeline=[
            dict(type="LoadCells"),
            dict(type="LoadFlows", enabled="{flows}"),
            dict(type="RandomView", size="{view}", scale="{view_scale}", magnification="{magnification}"),
            dict(type="RandomLight"),
            dict(type="PackClassMap", num_classes="{num_classes}"),
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
            dict(type="LoadFlows", enabled="{flows}"),
            dict(type="WholeView", magnification="{magnification}"),
            dict(type="PackClassMap", num_classes="{num_classes}"),
        ],
    ),
)
val_evaluator = dict(type="ClassMapMetric")
