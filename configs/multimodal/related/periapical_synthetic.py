# Synthetic stand-in for the quadrant of periapical radiographs from picture and patient data; neither tells it alone.
_base_ = ["../../_base_/multimodal.py"]
source = dict(options=dict(kinds=dict(radiograph="image", patient="tabular"), outputs=4, count=1600, noise=0.2))
model = dict(
    encoders=dict(
        radiograph=dict(type="ConvEncoder", width=32, strides=(2, 2, 2), cbam=True),
        patient=dict(type="TabularEncoder", num_features="{num_features_patient}", width=32, kind="mlp", layers=2),
    ),
    fusion=dict(type="ConcatFusion", width=32),
    heads=dict(classification=dict(type="FusedClassifier", num_classes="{num_classes}", hidden=32)),
)
best_by = "classification_macro_f1"
iterations = 800
