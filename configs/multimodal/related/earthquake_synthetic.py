# Synthetic stand-in for earthquake magnitude classes from waveforms, seen through sliding windows, and ground-motion
# numbers; neither tells the class alone. In training three windows at random places are seen of each waveform.
_base_ = ["../../_base_/multimodal.py"]
source = dict(options=dict(kinds=dict(waveform="sequence", ground_motion="tabular"), count=800, noise=0.2))
model = dict(
    encoders=dict(
        waveform=dict(
            type="SlidingWindowEncoder",
            encoder=dict(type="SequenceEncoder", in_channels="{num_channels_waveform}", width=32, strides=(2, 2)),
            length=12,
            step=4,
            draw=3,
        ),
        ground_motion=dict(type="TabularEncoder", num_features="{num_features_ground_motion}", width=32, kind="mlp"),
    ),
    fusion=dict(type="ConcatFusion", width=32),
    # Large earthquakes are rare: classes count by how seldom they are.
    heads=dict(
        classification=dict(
            type="FusedClassifier", num_classes="{num_classes}", hidden=32, class_weights="{class_weights}"
        )
    ),
)
iterations = 400
