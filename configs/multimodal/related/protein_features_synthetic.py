# Synthetic stand-in for protein families from physicochemical features and embeddings of the interaction graph; neither
# tells the family alone. Both tables are also rebuilt from what was hidden of them (denoising auto-encoders).
_base_ = ["../../_base_/multimodal.py"]
source = dict(options=dict(kinds=dict(physicochemical="tabular", graph="tabular"), outputs=3, count=1200, noise=0.2))
model = dict(
    encoders=dict(
        physicochemical=dict(
            type="TabularEncoder", num_features="{num_features_physicochemical}", width=32, kind="mlp", layers=2
        ),
        graph=dict(type="TabularEncoder", num_features="{num_features_graph}", width=32, kind="mlp", layers=2),
    ),
    fusion=dict(type="BilinearFusion", width=32, rank=8),
    heads=dict(classification=dict(type="FusedClassifier", num_classes="{num_classes}", hidden=32)),
    auxiliary=[
        dict(
            type="TableReconstruction",
            modality="physicochemical",
            features="{num_features_physicochemical}",
            weight=0.1,
        ),
        dict(type="TableReconstruction", modality="graph", features="{num_features_graph}", weight=0.1),
    ],
)
iterations = 600
