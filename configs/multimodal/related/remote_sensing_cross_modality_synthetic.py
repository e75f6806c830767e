# Synthetic stand-in for cross-modality land cover: hyperspectral curves and height maps train, curves alone are there
# afterwards. Training often hides the height map and wants the same answer without it.
_base_ = ["./remote_sensing_synthetic.py"]
source = dict(
    # Both show the same class, or one alone could not tell it.
    options=dict(signal="redundant", noise=0.8, missing=dict(height=1.0), missing_in=["val", "test"])
)
model = dict(modality_dropout=dict(height=0.5), auxiliary=[dict(type="Consistency", weight=0.5)])
