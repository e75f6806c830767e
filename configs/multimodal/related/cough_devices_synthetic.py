# Synthetic stand-in for cough audio with demographics from several devices, and a shortcut in the audio that the test
# split turns round: an adversary hides the device, the invariant-risk penalty the shortcut.
_base_ = ["../../_base_/multimodal.py"]
source = dict(
    options=dict(
        kinds=dict(cough="sequence", demographics="tabular"),
        devices=4,
        environments=[0.9, 0.7],
        shifted=0.1,
        label_noise=0.1,
        count=1600,
        noise=0.2,
    ),
    fractions=(0.7, 0.1, 0.2),
)
model = dict(
    encoders=dict(
        cough=dict(type="SequenceEncoder", in_channels="{num_channels_cough}", width=32, strides=(2, 2)),
        demographics=dict(type="TabularEncoder", num_features="{num_features_demographics}", width=32, kind="mlp"),
    ),
    fusion=dict(type="ConcatFusion", width=32),
    heads=dict(classification=dict(type="FusedClassifier", num_classes="{num_classes}", hidden=32)),
    auxiliary=[
        dict(type="DomainAdversary", domains="{num_domains}", modality="cough", hidden=32, strength=0.3, steps=300),
        dict(type="InvariantRisk", task="classification", weight=10.0, warmup=200),
    ],
)
batch_size = 64
iterations = 600
