# The feature fusion: small networks correct a trained ensemble, on images that its members did not train on.
_base_ = ["./runtime.py"]
default_scope = "mmengine"
custom_imports = dict(
    imports=["cellseg.openmmlab", "cellseg.ensemble.feature_fusion.training", "cellseg.training.hooks"],
    allow_failed_imports=False,
)

ensemble = "configs/ensemble/small.py"
ensemble_options = []  # KEY=VALUE over what that file says; data_root and fold are those of this config
inputs = None  # names of the members that are combined; None: all
split = "val"
use_features = True
parts = 3  # cross-fitting: networks, each of which learns from the groups of all parts but its own
empty_weight = 0.25  # weight of boxes without a true cell
cache = "work_dirs/evidence"
members_device = None  # for all members; None: as the ensemble says

evidence = dict(
    ensemble="{ensemble}",
    ensemble_options="{ensemble_options}",
    data_root="{data_root}",
    fold="{fold}",
    split="{split}",
    inputs="{inputs}",
    use_features="{use_features}",
    parts="{parts}",
    empty_weight="{empty_weight}",
    cache="{cache}",
    device="{members_device}",
)
width = 32
feature_width = 8
input_dropout = 0.2
model = dict(
    type="fusion_network_of",
    evidence=evidence,
    width="{width}",
    feature_width="{feature_width}",
    input_dropout="{input_dropout}",
)

batch_size = 64
train_dataloader = dict(
    batch_size="{batch_size}",
    num_workers=0,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="FusedBoxes", evidence=evidence),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="FusedBoxes", evidence=evidence),
)
val_evaluator = dict(type="SoftIoUMetric")
del evidence  # the entries above it are what --cfg-options changes
best_by = "soft_iou"
custom_hooks = [dict(type="SameEvidenceHook"), dict(type="ExactResumeHook")]

iterations = 600
learning_rate = 2e-3
warm_up = 50
# Gradients are not clipped: by their common length the networks would learn of each other's images.
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr="{learning_rate}", weight_decay=0.05),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end="{warm_up}"),
    dict(type="CosineAnnealingLR", by_epoch=False, begin="{warm_up}", end="{iterations}", eta_min=1e-5),
]
# Validated at the end only: choosing among iterations would give an image's own cells a say in its answer.
train_cfg = dict(val_interval="{iterations}")
