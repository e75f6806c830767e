"""The baselines as parts of a model that a config names."""

import pytest
import torch
from mmengine.registry import MODELS

import cellseg.multimodal.baselines
import cellseg.multimodal.encoders
import cellseg.multimodal.fusion
import cellseg.multimodal.heads.captioning
import cellseg.multimodal.heads.matching
import cellseg.multimodal.heads.vqa
import cellseg.multimodal.model  # noqa: F401

ENCODERS = dict(
    image=dict(type="ConvEncoder", width=8, strides=(4, 4)),
    text=dict(type="TextTransformerEncoder", vocabulary_size=11, width=8, layers=1, heads=2),
)
CAPTIONS = dict(vocabulary_size=11, max_length=5)


def batch():
    generator = torch.Generator().manual_seed(0)
    words = torch.tensor([[2, 5, 6, 3, 0], [2, 7, 3, 0, 0], [0, 0, 0, 0, 0]])
    inputs = dict(
        image=dict(values=torch.randn(3, 3, 32, 32, generator=generator), present=torch.tensor([True, False, True])),
        text=dict(values=words, mask=words > 0, present=torch.tensor([True, True, False])),
    )
    truth = torch.tensor([[2, 8, 9, 3], [2, 10, 3, 0], [2, 8, 8, 3]])
    everywhere = torch.tensor([True, True, True])
    targets = dict(
        caption=dict(values=truth, mask=truth > 0, present=everywhere),
        answer=dict(values=torch.eye(3, 4), present=everywhere),
        pair=dict(values=torch.ones(3), present=everywhere),
    )
    return inputs, targets


@pytest.mark.parametrize(
    "fusion", ["ConcatFusion", "LSTMAttentionFusion", "BilinearAttentionNetwork", "ReasoningDualAttention"]
)
@pytest.mark.parametrize("head", ["CaptionTransformer", "LSTMAttentionCaptioner", "PointerCaptioner"])
def test_every_fusion_and_head_can_be_picked(fusion, head):
    torch.manual_seed(0)
    small = dict(width=8) if head == "LSTMAttentionCaptioner" else dict(width=8, heads=2, layers=1)
    model = MODELS.build(
        dict(
            type="MultimodalModel",
            encoders=ENCODERS,
            fusion=dict(type=fusion, width=8),
            heads=dict(
                caption=dict(type=head, **small, **CAPTIONS),
                answer=dict(type="AnswerClassifier", num_answers=4),
                pair=dict(type="MatchingDualAttention", width=8),
            ),
        )
    )
    inputs, targets = batch()
    losses = model(inputs, targets, mode="loss")
    assert {"loss_caption", "loss_answer"} <= losses.keys()
    sum(losses.values()).backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    rows = model.eval()(inputs, mode="predict")
    assert len(rows) == 3
    for row, present in zip(rows, ({"image", "text"}, {"text"}, {"image"}), strict=True):
        assert len(row["caption"]["tokens"]) <= 5
        assert len(row["answer"]["probabilities"]) == 4
        assert row["pair"]["embeddings"].keys() == present
