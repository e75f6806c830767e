# Ablation of vqa: the picture alone; generated data; about 0.5, chance: it does not know what is asked.
_base_ = ["../visual_language/vqa_small.py"]

model = dict(
    encoders=dict(_delete_=True, image=dict(type="ConvEncoder", width="{width}", strides=(2, 2, 2), cbam=True)),
    fusion=None,
)
