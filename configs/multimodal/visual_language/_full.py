# What the full configs here share: DenseNet-121 with CBAM, ALBERT base, cross-attention between them, as in the paper.
_base_ = ["../../_base_/multimodal.py"]

source = dict(image_size=(224, 224), max_length=40, vocabulary=30000)
model = dict(
    encoders=dict(
        # Weights that you have: pretrained= a file of torchvision's densenet121, and a folder of an ALBERT, whose words
        # source.tokenizer= (the same folder) then takes.
        image=dict(type="DenseNetEncoder", pretrained=None),
        text=dict(
            type="AlbertEncoder",
            pretrained=None,
            vocab_size="{vocabulary_size}",
            pad_token_id="{pad}",
            bos_token_id="{begin}",
            eos_token_id="{end}",
            separator="{separator}",
            max_position_embeddings=512,
        ),
    ),
    fusion=dict(type="CrossAttentionFusion", width=768, layers=4, heads=12),
)

iterations = 20000
train_cfg = dict(val_interval=500)
default_hooks = dict(checkpoint=dict(interval=500))
workers = 8
optim_wrapper = dict(
    clip_grad=dict(max_norm=1.0),
    # The paper's rate of 1e-3 would undo what a text encoder was pretrained to.
    paramwise_cfg=dict(custom_keys={"encoders.text": dict(lr_mult=0.02), "encoders.image": dict(lr_mult=0.1)}),
)
