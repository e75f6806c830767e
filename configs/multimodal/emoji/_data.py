# What the emoji configs share: pictures with a name and keywords, in three sentiments, three in five of them positive.
# A picture that several names have stays in one split, and so does a name.
_base_ = ["../../_base_/multimodal.py"]

reader = "table"
data_root = "data/vl_emoji_sentiment"
source = dict(
    options=dict(
        inputs=dict(
            picture=dict(kind="image", column="file_name"),
            name=dict(kind="text", column="text"),
            keywords=dict(kind="text", column="keywords"),
        ),
        targets=dict(classification="label"),
    ),
    tasks=["classification"],
    group_by=["sentence"],
    fractions=(0.5, 0.25, 0.25),
    max_length=40,
)
width = 64
model = dict(
    heads=dict(
        classification=dict(type="FusedClassifier", num_classes="{num_classes}", class_weights="{class_weights}"),
    ),
)
augmentation = dict(horizontal_flip=True, shift=0.1)
best_by = "classification_macro_f1"
# 235 pictures are soon known by heart: with a rate of 1e-3 the validation loss rises before the first validation.
learning_rate = 2e-4
iterations = 200
train_cfg = dict(val_interval=20)
