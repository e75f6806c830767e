# Synthetic stand-in for age and metallicity of galaxies from spectra and photometric pictures: 4 of 10 spectra are
# missing, and features that are generated from the picture stand in for them; attention regression.
_base_ = ["../../_base_/multimodal.py"]
source = dict(
    options=dict(
        kinds=dict(spectrum="sequence", photometry="image"),
        task="regression",
        outputs=2,
        # Both show the same, or nothing could be generated from the other.
        signal="redundant",
        noise=0.5,
        missing=dict(spectrum=0.4),
        count=800,
    )
)
model = dict(
    encoders=dict(
        spectrum=dict(type="SequenceEncoder", in_channels="{num_channels_spectrum}", width=32, strides=(2, 2)),
        photometry=dict(type="ConvEncoder", width=32, strides=(2, 2, 2)),
    ),
    fusion=dict(type="CrossAttentionFusion", width=32, layers=1, heads=4),
    heads=dict(
        regression=dict(
            type="AttentionRegressor", outputs="{num_targets}", width=32, mean="{target_mean}", std="{target_std}"
        )
    ),
    auxiliary=[dict(type="FeatureImputer", modalities=["spectrum"], length=4, hidden=32)],
)
best_by = "regression_r2"
iterations = 400
