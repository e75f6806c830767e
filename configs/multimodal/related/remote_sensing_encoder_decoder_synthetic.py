# Synthetic stand-in for land cover with encoder-decoder fusion: the fused vector must also rebuild both modalities.
_base_ = ["./remote_sensing_synthetic.py"]
fusion = "encoder_decoder"
model = dict(auxiliary=[dict(type="FusionReconstruction", weight=0.5)])
