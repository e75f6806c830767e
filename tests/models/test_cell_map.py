"""The UPerNet with flows: its loss and its classes."""

from importlib import import_module

import pytest
import torch
from mmengine.structures import PixelData

import cellseg.openmmlab as openmmlab

# Only after OpenMMLab is prepared; both register their parts.
import_module("cellseg.models.backbones")
SegDataSample = import_module("mmseg.structures").SegDataSample
FlowUPerHead = import_module("cellseg.models.cell_map").FlowUPerHead


@pytest.fixture
def head() -> FlowUPerHead:
    torch.manual_seed(0)
    return openmmlab.build_model(
        dict(
            type="FlowUPerHead",
            in_channels=[4, 8],
            in_index=[0, 1],
            pool_scales=(1, 2),
            channels=8,
            num_classes=3,
            norm_cfg=dict(type="GN", num_groups=2),
            align_corners=False,
            dropout_ratio=0.0,
            flow_weight=3.0,
            loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
        ),
        "mmseg",
    )


@pytest.fixture
def features() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, 4, 16, 16, generator=generator), torch.randn(2, 8, 8, 8, generator=generator)]


def samples(flow: torch.Tensor) -> list[SegDataSample]:
    found = []
    for one in flow:
        sample = SegDataSample(metainfo=dict(img_shape=(16, 16)))
        sample.gt_sem_seg = PixelData(data=torch.zeros(1, 16, 16, dtype=torch.int64))
        sample.gt_flow = PixelData(data=one)
        found.append(sample)
    return found


def test_classes_come_first_then_the_flow(head: FlowUPerHead, features: list[torch.Tensor]) -> None:
    head.eval()
    out = head(features)
    assert out.shape == (2, 5, 16, 16)
    inner = head._forward_feature(features)
    assert torch.equal(out[:, :3], head.cls_seg(inner)) and torch.equal(out[:, 3:], head.conv_flow(inner))


def test_the_loss_of_the_flow_is_the_weighted_mean_squared_error(
    head: FlowUPerHead, features: list[torch.Tensor]
) -> None:
    flow = torch.rand(2, 2, 16, 16, generator=torch.Generator().manual_seed(2))
    out = head(features)
    losses = head.loss_by_feat(out, samples(flow))
    assert losses["loss_flow"].item() == pytest.approx(3.0 * ((out[:, 3:] - flow) ** 2).mean().item(), rel=1e-6)
    assert losses["loss_ce"].item() == pytest.approx(-out[:, :3].log_softmax(1)[:, 0].mean().item(), rel=1e-5)
    perfect = torch.cat([out[:, :3], flow], dim=1)
    assert head.loss_by_feat(perfect, samples(flow))["loss_flow"].item() == 0


def test_the_flow_teaches_the_features(head: FlowUPerHead, features: list[torch.Tensor]) -> None:
    flow = torch.ones(2, 2, 16, 16)
    head.loss_by_feat(head(features), samples(flow))["loss_flow"].backward()
    assert head.fpn_bottleneck.conv.weight.grad.abs().sum() > 0
    assert not head.conv_seg.weight.grad.any()


def test_predicted_classes_are_those_of_the_class_channels() -> None:
    model = openmmlab.build_model(
        dict(
            type="FlowSegmentor",
            backbone=dict(
                type="FineStemResNet", depth=10, base_channels=8, norm_cfg=dict(type="GN", num_groups=2), init_cfg=None
            ),
            decode_head=dict(
                type="FlowUPerHead",
                in_channels=[8, 16, 32, 64],
                in_index=[0, 1, 2, 3],
                channels=8,
                num_classes=3,
                norm_cfg=dict(type="GN", num_groups=2),
                align_corners=False,
                loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
            ),
            train_cfg=dict(),
            test_cfg=dict(mode="whole"),
        ),
        "mmseg",
    ).eval()
    # A flow larger than every logit must not be taken for a class.
    torch.nn.init.constant_(model.decode_head.conv_flow.bias, 100.0)
    size = dict(ori_shape=(32, 32), img_shape=(32, 32), pad_shape=(32, 32))
    with torch.no_grad():
        found = model.predict(torch.randn(1, 3, 32, 32), [SegDataSample(metainfo=size)])[0]
    assert int(found.pred_sem_seg.data.max()) < 3
    assert found.seg_logits.data.shape[0] == 3
