# Small visual-language model for questions about pictures, on generated data; far above 0.5, which is chance.
# Other data: --cfg-options reader=vqa data_root=FOLDER source.options._delete_=true
_base_ = ["./_small.py"]

source = dict(options=dict(task="vqa", count=1600, outputs=4, noise=0.3), tasks=["vqa"])
model = dict(
    heads=dict(
        vqa=dict(type="AnswerClassifier", num_answers="{num_answers}"),
    ),
)
best_by = "vqa_accuracy"
