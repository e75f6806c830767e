# Multimodal fusion models: data from a reader, Adam as in the paper, and the scores of every task that is trained.
_base_ = ["./runtime.py"]
default_scope = "mmengine"
custom_imports = dict(
    imports=["cellseg.openmmlab", "cellseg.multimodal.training", "cellseg.training.hooks"],
    allow_failed_imports=False,
)

reader = "generated"
data_root = None  # folder or file of the data set; generated data has none
class_names = []  # they follow from the data and travel with the weights
source = dict(
    reader="{reader}",
    data_root="{data_root}",
    options=dict(),
    seed="{seed}",
    fractions=(0.8, 0.1, 0.1),
    image_size=(64, 64),
    max_length=32,
    vocabulary=4000,
)
# A config that trains a model adds encoders, fusion and heads; "{num_classes}" and the like follow from the data.
model = dict(type="multimodal_model_of", source="{source}", validation_loss=True)

batch_size = 32
workers = 0
augmentation = dict()  # of pictures in training; flips only where nothing that is said of a picture names a side
train_dataloader = dict(
    batch_size="{batch_size}",
    num_workers="{workers}",
    sampler=dict(type="InfiniteSampler", shuffle=True),
    collate_fn=dict(type="collate_samples"),
    dataset=dict(type="MultimodalSamples", source="{source}", split="train", augmentation="{augmentation}"),
)
val_dataloader = dict(
    batch_size="{batch_size}",
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="collate_samples"),
    dataset=dict(type="MultimodalSamples", source="{source}", split="val"),
)
val_evaluator = dict(type="TaskScores")
best_by = "classification_accuracy"
custom_hooks = [dict(type="SameDescriptionHook"), dict(type="ExactResumeHook")]

iterations = 1000
learning_rate = 1e-3
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="Adam", lr="{learning_rate}", weight_decay=1e-4),
)
# The paper compares with the value before: compare="previous", patience=0.
param_scheduler = [
    dict(type="PlateauLR", monitor="val_loss", rule="less", factor=0.5, compare="best", patience=2),
]
