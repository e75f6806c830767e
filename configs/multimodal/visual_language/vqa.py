# Full visual-language model for questions about pictures, on generated data; meant for a GPU and a real set.
# For example: --cfg-options reader=vqa data_root=FOLDER source.options._delete_=true
_base_ = ["./_full.py"]

source = dict(options=dict(task="vqa", count=1600, outputs=4, noise=0.3), tasks=["vqa"])
model = dict(
    heads=dict(
        vqa=dict(type="AnswerClassifier", num_answers="{num_answers}"),
    ),
)
best_by = "vqa_accuracy"
