# Synthetic stand-in for three stages of Alzheimer's disease from SNPs, clinical scores and MRI, each of which shows the
# stage with much noise: denoising auto-encoders of both tables, and contrast between the modalities.
_base_ = ["../../_base_/multimodal.py"]
source = dict(
    options=dict(
        kinds=dict(snp="tabular", clinical="tabular", mri="volume"),
        outputs=3,
        # Contrast brings together what modalities have in common, so they must have something.
        signal="redundant",
        noise=1.5,
        missing=dict(snp=0.2, mri=0.2),
        count=800,
    )
)
model = dict(
    encoders=dict(
        snp=dict(type="TabularEncoder", num_features="{num_features_snp}", width=32, kind="mlp", layers=2),
        clinical=dict(type="TabularEncoder", num_features="{num_features_clinical}", width=32, kind="mlp", layers=2),
        mri=dict(type="VolumeEncoder", in_channels="{num_channels_mri}", width=32, strides=((2, 2), (2, 2))),
    ),
    fusion=dict(type="GatedFusion", width=32),
    heads=dict(classification=dict(type="FusedClassifier", num_classes="{num_classes}", dropout=0.1)),
    auxiliary=[
        dict(type="TableReconstruction", modality="snp", features="{num_features_snp}", noise=0.2, weight=0.2),
        dict(
            type="TableReconstruction", modality="clinical", features="{num_features_clinical}", noise=0.2, weight=0.2
        ),
        dict(type="ModalityContrast", width=16, temperature=0.5, weight=0.2),
    ],
)
best_by = "classification_macro_f1"
iterations = 400
