"""mmdet and mmseg in one process, each under its own names."""

import importlib.util

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from cellseg.errors import InputError
from cellseg.openmmlab import build_model, register_all_modules, scope


@pytest.fixture(scope="module")
def networks(request):
    """The configs of the tiny Mask R-CNN and UPerNet."""
    path = request.path.parent / "tiny_training.py"
    spec = importlib.util.spec_from_file_location("tiny_training", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.mask_rcnn(), module.upernet()


def current() -> str | None:
    instance = DefaultScope.get_current_instance()
    return instance and instance.scope_name


def test_names_belong_to_the_scope():
    def module_of_resnet() -> str:
        return type(MODELS.build({"type": "ResNet", "depth": 18, "base_channels": 4})).__module__

    with scope("mmdet"):
        assert module_of_resnet() == "mmdet.models.backbones.resnet"
        with scope("mmseg"):
            assert module_of_resnet() == "mmseg.models.backbones.resnet"
        assert module_of_resnet() == "mmdet.models.backbones.resnet"


def test_the_scope_is_restored_also_after_an_error():
    before = current()
    with pytest.raises(KeyError, match="raised inside"), scope("mmseg"):
        assert current() == "mmseg"
        raise KeyError("raised inside")
    assert current() == before


def test_registering_changes_no_scope():
    with scope("mmengine"):
        register_all_modules()
        assert current() == "mmengine"


def test_an_unknown_scope_is_named():
    with (
        pytest.raises(InputError, match="unknown scope 'mmpose'; expected one of mmdet, mmseg, mmengine"),
        scope("mmpose"),
    ):
        pass


def test_building_leaves_the_config_alone(networks):
    before = repr(networks)
    build_model(networks[0], "mmdet"), build_model(networks[1], "mmseg")
    assert repr(networks) == before


def test_both_run_in_one_process(networks):
    detector, segmentor = build_model(networks[0], "mmdet"), build_model(networks[1], "mmseg")
    image = torch.rand(1, 3, 64, 64)
    # One after the other and back again, in training and in inference.
    for _ in range(2):
        with scope("mmdet"):
            check_detector(detector, image)
        with scope("mmseg"):
            check_segmentor(segmentor, image)


def check_detector(detector, image):
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    sizes = {"img_shape": (64, 64), "ori_shape": (64, 64), "pad_shape": (64, 64), "batch_input_shape": (64, 64)}
    sample = DetDataSample(metainfo=sizes | {"scale_factor": (1.0, 1.0)})
    cells = torch.zeros(2, 64, 64, dtype=torch.uint8)
    cells[0, 8:24, 8:24], cells[1, 30:50, 34:50] = 1, 1
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[8.0, 8.0, 24.0, 24.0], [34.0, 30.0, 50.0, 50.0]]),
        labels=torch.zeros(2, dtype=torch.int64),
        masks=BitmapMasks(cells.numpy(), 64, 64),
    )
    losses = detector.train()(image, [sample], mode="loss")
    assert {"loss_rpn_cls", "loss_cls", "loss_bbox", "loss_mask"} <= losses.keys()
    losses["loss_mask"].backward()
    assert detector.backbone.conv1.weight.grad.abs().sum() > 0  # through RoIAlign
    with torch.no_grad():
        found = detector.eval()(image, [sample], mode="predict")[0].pred_instances
    assert len(found) > 0 and found.masks.shape == (len(found), 64, 64)


def check_segmentor(segmentor, image):
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    sample = SegDataSample(metainfo={"img_shape": (64, 64), "ori_shape": (64, 64), "padding_size": [0] * 4})
    sample.gt_sem_seg = PixelData(data=torch.zeros(1, 64, 64, dtype=torch.int64))
    losses = segmentor.train()(image.expand(2, 3, 64, 64), [sample] * 2, mode="loss")
    assert {"decode.loss_ce", "aux.loss_ce"} <= losses.keys()
    with torch.no_grad():
        found = segmentor.eval()(image, [sample], mode="predict")[0]
    assert found.pred_sem_seg.data.shape == (1, 64, 64)
