"""Configs of trainings that take seconds: what they train, on generated data."""

from pathlib import Path

BASE = Path(__file__).resolve().parents[2] / "configs" / "_base_" / "multimodal.py"

TABLES = """
# Two rows of numbers of which neither tells the class.
source = dict(options=dict(kinds=dict(one="tabular", two="tabular"), count=200, noise=0.2))
model = dict(
    encoders=dict(
        one=dict(type="TabularEncoder", num_features="{num_features_one}", width=16, kind="mlp", dropout=0.0),
        two=dict(type="TabularEncoder", num_features="{num_features_two}", width=16, kind="mlp", dropout=0.0),
    ),
    fusion=dict(type="ConcatFusion", width=16, dropout=0.0),
    heads=dict(classification=dict(type="FusedClassifier", num_classes="{num_classes}", hidden=16)),
)
learning_rate = 1e-2
iterations = 60
train_cfg = dict(val_interval=30)
default_hooks = dict(checkpoint=dict(interval=30))
"""

PICTURES = """
# Captions to write and to match, of the same pictures.
source = dict(
    options=dict(task="captioning", count=60, outputs=3), tasks=["captioning", "matching"], max_length=24
)
model = dict(
    encoders=dict(
        image=dict(type="ConvEncoder", width=16, strides=(2, 2, 2)),
        text=dict(
            type="TextTransformerEncoder", vocabulary_size="{vocabulary_size}", width=16, layers=1, heads=2,
            max_length="{max_length}",
        ),
    ),
    fusion=dict(type="ConcatFusion", width=16),
    heads=dict(
        captioning=dict(
            type="CaptionTransformer", vocabulary_size="{vocabulary_size}", pad="{pad}", begin="{begin}", end="{end}",
            max_length="{max_length}", width=16, layers=1, heads=2, beam=1,
        ),
        matching=dict(type="PairMatcher", embedding=8),
    ),
)
best_by = "captioning_cider"
batch_size = 8
iterations = 4
train_cfg = dict(val_interval=4)
"""


def write_training_config(folder: Path, text: str) -> Path:
    """Write a config that stands on the project's base for multimodal models."""
    path = folder / "tiny.py"
    path.write_text(f"_base_ = [{str(BASE)!r}]\n{text}\n", encoding="utf-8")
    return path
