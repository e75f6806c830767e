"""Third row of the paper's table: YOLOX, Mask R-CNN and UPerNet vote pixel by pixel.

The paper reports 0.356 on the public and 0.350 on the private images. For trainings of configs/yolox/yolox_s.py,
mask_rcnn/mask_rcnn_r50.py and upernet/upernet_r50.py on a GPU; paper_ensemble_small.py is the same for two CPU cores.
Not measured here.
"""

_base_ = ["./paper_nms.py"]

members = [
    dict(type="yolox", work_dir="work_dirs/yolox_s"),
    dict(type="mask_rcnn", work_dir="work_dirs/mask_rcnn_r50"),
    dict(type="upernet", work_dir="work_dirs/upernet_r50"),
]

fusion = dict(method="wbf")

# A box that one of three members found gets a third of its score.
settings = dict(exponent=1.0, score_threshold=0.3)
