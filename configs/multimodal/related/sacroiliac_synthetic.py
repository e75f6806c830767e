# Synthetic stand-in for active axial spondyloarthritis from MRI of the sacroiliac joints and laboratory values; neither
# tells the class alone. Each laboratory value is a token that the picture can attend to.
_base_ = ["../../_base_/multimodal.py"]
source = dict(options=dict(kinds=dict(mri="volume", laboratory="tabular"), count=800, noise=0.2))
model = dict(
    encoders=dict(
        mri=dict(type="VolumeEncoder", in_channels="{num_channels_mri}", width=32, strides=((2, 2), (2, 2))),
        laboratory=dict(type="TabularEncoder", num_features="{num_features_laboratory}", width=32, kind="tokens"),
    ),
    fusion=dict(type="CrossAttentionFusion", width=32, layers=1, heads=4),
    heads=dict(classification=dict(type="FusedClassifier", num_classes="{num_classes}", hidden=32)),
)
best_by = "classification_auc"
iterations = 400
