"""Second row of the paper's table: instances of Mask R-CNN with ResNet-50 and with ResNeSt-50 fused, with NMS.

The paper reports 0.326 on the public and 0.341 on the private images. For trainings of
configs/mask_rcnn/mask_rcnn_r50.py and mask_rcnn_resnest50.py on a GPU; paper_resnest_small.py is the same for two CPU
cores. Not measured here.
"""

_base_ = ["./paper_nms.py"]

members = [
    dict(type="mask_rcnn", work_dir="work_dirs/mask_rcnn_r50"),
    dict(type="mask_rcnn", name="mask_rcnn_resnest", work_dir="work_dirs/mask_rcnn_resnest50"),
]

# Each network finds its cells alone; what both found is averaged, and what only one found stays.
combine = "match"
matching = dict(rule="any", iou_threshold=0.5, mask_threshold=0.5, nms_iou=0.15)
