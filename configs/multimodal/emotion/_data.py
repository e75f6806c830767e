# What the emotion configs share: four emotions in voice, face and words, each of which is often missing or unclear.
# Real data, as features or files by sample: --cfg-options reader=table data_root=FOLDER source.options._delete_=true
# source.options.inputs="{'audio': {'kind': 'sequence', 'column': 'audio'}, 'face': {'kind': 'image', 'column': 'face'},
# 'text': 'text'}" source.options.targets="{'classification': 'emotion'}"
_base_ = ["../../_base_/multimodal.py"]

source = dict(
    options=dict(
        kinds=dict(audio="sequence", face="image", text="text"),
        signal="redundant",
        count=1600,
        outputs=4,
        noise=6.0,
        missing=dict(audio=0.2, face=0.4, text=0.6),
    ),
    tasks=["classification"],
    fractions=(0.6, 0.2, 0.2),
)
width = 64
model = dict(heads=dict(classification=dict(type="FusedClassifier", num_classes="{num_classes}")))

iterations = 400
