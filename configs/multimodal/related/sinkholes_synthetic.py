# Synthetic stand-in for sinkholes in colour pictures with slope maps; neither tells the class alone. Where it looked:
# cellseg.multimodal.explain.grad_cam on the layer encoders.slope.features (or encoders.rgb.features).
_base_ = ["../../_base_/multimodal.py"]
source = dict(options=dict(kinds=dict(rgb="image", slope="image"), count=800, noise=0.2))
model = dict(
    encoders=dict(
        rgb=dict(type="ConvEncoder", width=32, strides=(2, 2, 2)),
        slope=dict(type="ConvEncoder", in_channels="{num_channels_slope}", width=32, strides=(2, 2, 2)),
    ),
    fusion=dict(type="ConcatFusion", width=32),
    heads=dict(classification=dict(type="FusedClassifier", num_classes="{num_classes}", hidden=32)),
)
iterations = 400
