# Synthetic stand-in for land cover from hyperspectral curves and height maps; neither tells the class alone. The fusion
# is chosen by name: --cfg-options fusion=early (or middle, late, cross, ...; encoder_decoder has a config of its own).
_base_ = ["../../_base_/multimodal.py"]
source = dict(options=dict(kinds=dict(hyperspectral="sequence", height="image"), outputs=3, count=1200, noise=0.2))
fusion = "middle"
model = dict(
    encoders=dict(
        hyperspectral=dict(type="SequenceEncoder", in_channels="{num_channels_hyperspectral}", width=32, strides=(2,)),
        height=dict(type="ConvEncoder", width=32, strides=(2, 2, 2)),
    ),
    fusion=dict(type="fusion_by_name", name="{fusion}", width=32),
    heads=dict(classification=dict(type="FusedClassifier", num_classes="{num_classes}", hidden=32)),
)
iterations = 600
