# Synthetic stand-in for several diagnoses at once from cough audio and symptoms in words; neither tells any of them
# alone. The devices are the domains that an adversary hides, and the environments of the invariant-risk penalty.
_base_ = ["../../_base_/multimodal.py"]
source = dict(
    options=dict(
        kinds=dict(cough="sequence", symptoms="text"), task="multilabel", outputs=2, devices=3, count=1200, noise=0.2
    )
)
model = dict(
    encoders=dict(
        cough=dict(type="SequenceEncoder", in_channels="{num_channels_cough}", width=32, strides=(2, 2)),
        symptoms=dict(type="LSTMEncoder", vocabulary_size="{vocabulary_size}", width=32),
    ),
    fusion=dict(type="BilinearFusion", width=32, rank=8),
    heads=dict(multilabel=dict(type="FusedClassifier", num_classes="{num_labels}", multi_label=True, hidden=32)),
    auxiliary=[
        dict(type="DomainAdversary", domains="{num_domains}", modality="cough", hidden=32, strength=0.05, steps=600),
        dict(type="InvariantRisk", task="multilabel", environment="domain", weight=0.1, warmup=400),
    ],
)
best_by = "multilabel_macro_f1"
iterations = 600
