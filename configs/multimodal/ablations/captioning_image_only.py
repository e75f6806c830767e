# Ablation of captioning: the picture alone; generated data; near captioning_full, as the prompt says nothing.
_base_ = ["../visual_language/captioning_small.py"]

model = dict(
    encoders=dict(_delete_=True, image=dict(type="ConvEncoder", width="{width}", strides=(2, 2, 2), cbam=True)),
    fusion=None,
)
