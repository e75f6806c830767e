# Full visual-language model for sentiment in three classes, on generated data; meant for a GPU and a real set.
# For example: --cfg-options reader=table data_root=FOLDER source.options._delete_=true
_base_ = ["./_full.py"]

source = dict(options=dict(kinds=["image", "text"], count=1600, outputs=3, noise=0.3), tasks=["classification"])
model = dict(
    heads=dict(
        classification=dict(type="FusedClassifier", num_classes="{num_classes}", class_weights="{class_weights}"),
    ),
)
best_by = "classification_accuracy"
