# Synthetic stand-in for lung nodule growth from CT series and patient data; neither tells the class alone. Of 3 in 10
# patients there is a single frame instead of a series, which is repeated.
_base_ = ["../../_base_/multimodal.py"]
source = dict(
    options=dict(kinds=dict(ct="volume", patient="tabular"), single_frames=0.3, count=800, noise=0.2),
)
model = dict(
    encoders=dict(
        ct=dict(
            type="VolumeEncoder",
            in_channels="{num_channels_ct}",
            width=32,
            strides=((2, 2), (2, 2)),
            repeat_frames=8,
        ),
        patient=dict(type="TabularEncoder", num_features="{num_features_patient}", width=32, kind="mlp"),
    ),
    fusion=dict(type="ConcatFusion", width=32),
    heads=dict(classification=dict(type="FusedClassifier", num_classes="{num_classes}", hidden=32)),
)
best_by = "classification_auc"
iterations = 400
